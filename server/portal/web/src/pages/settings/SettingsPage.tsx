import { Tabs } from '@mantine/core';
import { Page } from '../../kit/Page';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { JobLimits } from './JobLimits';
import { MailSettings } from './MailSettings';
import { ProviderSettings } from './ProviderSettings';
import { SecuritySettings } from './SecuritySettings';

/** Settings of the whole installation. */
export function Component() {
  const [url, setUrl] = useUrlState();
  return (
    <Page title={t('nav.settings')} narrow>
      <Tabs value={url.tab ?? 'provider'} onChange={(tab) => setUrl({ tab: tab === 'provider' ? undefined : (tab ?? undefined) }, true)}>
        <Tabs.List mb="md">
          <Tabs.Tab value="provider">{t('settings.provider')}</Tabs.Tab>
          <Tabs.Tab value="security">{t('settings.security')}</Tabs.Tab>
          <Tabs.Tab value="mail">{t('settings.mail')}</Tabs.Tab>
          <Tabs.Tab value="jobs">{t('settings.jobs')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="provider">
          <ProviderSettings />
        </Tabs.Panel>
        <Tabs.Panel value="security">
          <SecuritySettings />
        </Tabs.Panel>
        <Tabs.Panel value="mail">
          <MailSettings />
        </Tabs.Panel>
        <Tabs.Panel value="jobs">
          <JobLimits />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}
