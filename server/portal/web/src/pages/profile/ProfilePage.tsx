import { Tabs } from '@mantine/core';
import { useMe } from '../../app/me';
import { Page } from '../../kit/Page';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { ProfileTab } from './ProfileTab';
import { SecurityTab } from './SecurityTab';
import { SessionsTab } from './SessionsTab';

/** One's own account. */
export function Component() {
  const me = useMe();
  const [url, setUrl] = useUrlState();
  // A restricted session can only set up the second factor.
  const restricted = me.second_factor_setup_required;
  return (
    <Page title={t('profile.title')} subtitle={me.email} narrow>
      <Tabs value={restricted ? 'security' : (url.tab ?? 'profile')} onChange={(tab) => setUrl({ tab: tab ?? undefined }, true)}>
        <Tabs.List mb="md">
          <Tabs.Tab value="profile" disabled={restricted}>
            {t('profile.tabProfile')}
          </Tabs.Tab>
          <Tabs.Tab value="security">{t('profile.security')}</Tabs.Tab>
          <Tabs.Tab value="sessions" disabled={restricted}>
            {t('profile.sessions')}
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="profile">
          <ProfileTab />
        </Tabs.Panel>
        <Tabs.Panel value="security">
          <SecurityTab />
        </Tabs.Panel>
        <Tabs.Panel value="sessions">
          <SessionsTab />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}
