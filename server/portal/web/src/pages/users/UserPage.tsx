import { ActionIcon, Button, Group, Menu, Stack } from '@mantine/core';
import { IconDots, IconKey, IconLink, IconLock, IconLockOpen, IconLogout, IconPencil } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useCan, useMe } from '../../app/me';
import { useConfirm } from '../../kit/Confirm';
import { exactTime } from '../../kit/format';
import { Link } from '../../kit/Link';
import { Loaded } from '../../kit/Loaded';
import { notifyDone } from '../../kit/notify';
import { Facts, Page, Panel } from '../../kit/Page';
import { ShownOnce } from '../../kit/ShownOnce';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { t } from '../../messages/t';
import { GrantList } from './GrantBadges';
import { GrantsDialog } from './GrantsDialog';
import { UserEditDialog } from './UserEditDialog';

type User = Schema<'User'>;

const crumbs = [{ label: t('nav.users'), to: '/users' }];

/** One user: who it is, what they may do, and the help an administrator can give. */
export function Component() {
  const { id = '' } = useParams();
  const user = useQuery({ queryKey: ['users', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/users/{id}', { params: { path: { id } }, signal })) });
  if (user.data) return <UserView user={user.data} />;
  return (
    <Page title={t('users.one')} crumbs={crumbs} narrow>
      <Loaded query={user}>{() => null}</Loaded>
    </Page>
  );
}

function UserView({ user }: { user: User }) {
  const can = useCan();
  const [editing, setEditing] = useState(false);
  return (
    <Page title={user.name} crumbs={crumbs} badge={<StateBadge state={user.state} />} subtitle={user.email} actions={<Acts user={user} />} narrow>
      <Stack gap="md">
        <Panel
          title={t('users.roles')}
          actions={
            can('grants.manage') && (
              <Button variant="subtle" size="compact-xs" onClick={() => setEditing(true)}>
                {t('users.changeRoles')}
              </Button>
            )
          }
        >
          <GrantList grants={user.grants} />
        </Panel>
        <Panel>
          <Facts
            items={[
              [t('users.belongsTo'), <Link key="t" to={`/tenants/${user.tenant_id}`}>{user.tenant_name}</Link>],
              [t('profile.locale'), user.locale],
              [t('users.factor'), user.second_factor_enabled ? t('profile.factorOn') : t('profile.factorOff')],
              [t('users.lastSignIn'), <TimeAgo key="s" at={user.last_sign_in_at} none={t('users.neverSignedIn')} />],
              [t('fields.created'), <TimeAgo key="c" at={user.created_at} />],
              [t('fields.updated'), <TimeAgo key="u" at={user.updated_at} />],
            ]}
          />
        </Panel>
        {can('audit.read') && (
          <Group>
            <Link to={`/audit?actor_id=${user.id}`} size="sm">
              {t('users.auditLink')}
            </Link>
          </Group>
        )}
      </Stack>
      {editing && <GrantsDialog user={user} onClose={() => setEditing(false)} />}
    </Page>
  );
}

function Acts({ user }: { user: User }) {
  const can = useCan();
  const me = useMe();
  const confirm = useConfirm();
  const { act, busy } = useAct('users');
  const [editing, setEditing] = useState(false);
  const [link, setLink] = useState<Schema<'OneTimeLink'>>();
  const init = { params: { path: { id: user.id } } };
  const name = user.name;

  async function setDisabled(disabled: boolean) {
    if (disabled && !(await confirm({ title: t('users.disableTitle', { name }), body: t('users.disableBody'), confirm: t('users.disable'), danger: true }))) return;
    await act(() => ok(api.PATCH('/api/v1/users/{id}', { ...init, body: { version: user.version, disabled } })), t('kit.saved'));
  }

  async function resetLink() {
    if (!(await confirm({ title: t('users.resetTitle', { name }), body: t('users.resetBody'), confirm: t('users.resetLink') }))) return;
    const made = await act(() => ok(api.POST('/api/v1/users/{id}/reset-link', init)));
    if (made?.link) setLink(made.link);
    else if (made) notifyDone(t('users.resetByMail', { email: user.email }));
  }

  async function resetFactor() {
    if (!(await confirm({ title: t('users.factorTitle', { name }), body: t('users.factorBody'), confirm: t('users.resetFactor'), danger: true }))) return;
    await act(() => ok(api.DELETE('/api/v1/users/{id}/second-factor', init)), t('users.factorDone'));
  }

  async function logOut() {
    if (!(await confirm({ title: t('users.logOutTitle', { name }), body: t('users.logOutBody'), confirm: t('users.logOut'), danger: true }))) return;
    await act(() => ok(api.POST('/api/v1/users/{id}/logout-everywhere', init)), t('users.logOutDone'));
  }

  if (!can('users.manage')) return null;
  const disabled = user.state === 'disabled';
  return (
    <>
      <Button variant="default" leftSection={<IconPencil size={15} />} onClick={() => setEditing(true)}>
        {t('kit.edit')}
      </Button>
      <Menu width={250}>
        <Menu.Target>
          <ActionIcon variant="default" size={30} aria-label={t('kit.more')} loading={busy}>
            <IconDots size={16} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          {!disabled && (
            <Menu.Item leftSection={<IconLink size={15} />} onClick={() => void resetLink()}>
              {t('users.resetLink')}
            </Menu.Item>
          )}
          {user.second_factor_enabled && (
            <Menu.Item leftSection={<IconKey size={15} />} onClick={() => void resetFactor()}>
              {t('users.resetFactor')}
            </Menu.Item>
          )}
          <Menu.Item leftSection={<IconLogout size={15} />} onClick={() => void logOut()}>
            {t('users.logOut')}
          </Menu.Item>
          {user.id !== me.id && (
            <>
              <Menu.Divider />
              <Menu.Item color={disabled ? undefined : 'red'} leftSection={disabled ? <IconLockOpen size={15} /> : <IconLock size={15} />} onClick={() => void setDisabled(!disabled)}>
                {disabled ? t('users.enable') : t('users.disable')}
              </Menu.Item>
            </>
          )}
        </Menu.Dropdown>
      </Menu>
      {editing && <UserEditDialog user={user} onClose={() => setEditing(false)} />}
      {link && <ShownOnce title={t('users.linkTitle', { name })} label={t('users.link')} secret={link.url} hint={t('users.linkHint', { until: exactTime(link.expires_at) })} onClose={() => setLink(undefined)} />}
    </>
  );
}
