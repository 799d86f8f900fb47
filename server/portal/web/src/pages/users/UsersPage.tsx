import { Button, Tabs } from '@mantine/core';
import { IconUserPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { useCan } from '../../app/me';
import { Page } from '../../kit/Page';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { InviteDialog } from './InviteDialog';
import { RolesTab } from './RolesTab';
import { UsersTab } from './UsersTab';

/** Who signs in, and what each role may do. */
export function Component() {
  const [url, setUrl] = useUrlState();
  const can = useCan();
  const [inviting, setInviting] = useState(false);
  const invite = can('users.manage') && can('grants.manage') && (
    <Button leftSection={<IconUserPlus size={15} />} onClick={() => setInviting(true)}>
      {t('users.invite')}
    </Button>
  );
  const tab = url.tab ?? 'users';
  return (
    <Page fill={tab === 'users'} title={t('nav.users')} actions={invite}>
      <Tabs value={tab} onChange={(next) => setUrl({ tab: next === 'users' ? undefined : (next ?? undefined) }, true)}>
        <Tabs.List>
          <Tabs.Tab value="users">{t('users.users')}</Tabs.Tab>
          <Tabs.Tab value="roles">{t('users.roles')}</Tabs.Tab>
        </Tabs.List>
      </Tabs>
      {tab === 'roles' ? <RolesTab /> : <UsersTab invite={invite} />}
      {inviting && <InviteDialog onClose={() => setInviting(false)} />}
    </Page>
  );
}
