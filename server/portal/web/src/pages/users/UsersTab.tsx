import { Group, Text } from '@mantine/core';
import { IconShieldCheck } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useTenantId } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Link } from '../../kit/Link';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { GrantBadges } from './GrantBadges';

type User = Schema<'User'>;

const STATES: Schema<'UserState'>[] = ['active', 'invited', 'disabled'];

const columns: Columns<User> = [
  {
    id: 'name',
    header: t('fields.name'),
    meta: { phone: true },
    cell: ({ row: { original: user } }) => (
      <Link to={`/users/${user.id}`} fw={550} c="inherit">
        {user.name}
      </Link>
    ),
  },
  { id: 'email', header: t('fields.email'), meta: { width: 240 }, cell: ({ row }) => row.original.email },
  { id: 'tenant', header: t('fields.tenant'), meta: { width: 170 }, cell: ({ row }) => row.original.tenant_name },
  { id: 'roles', header: t('users.roles'), meta: { width: 230 }, cell: ({ row }) => <GrantBadges grants={row.original.grants} /> },
  { id: 'state', header: t('fields.state'), meta: { width: 100, phone: true }, cell: ({ row }) => <StateBadge state={row.original.state} /> },
  {
    id: 'factor',
    header: t('users.factor'),
    meta: { width: 120 },
    cell: ({ row }) =>
      row.original.second_factor_enabled ? (
        <Group gap={5} wrap="nowrap">
          <IconShieldCheck size={15} aria-hidden />
          {t('profile.factorOn')}
        </Group>
      ) : (
        <Text span inherit c="dimmed">
          {t('profile.factorOff')}
        </Text>
      ),
  },
  { id: 'seen', header: t('users.lastSignIn'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.last_sign_in_at} none={t('users.neverSignedIn')} /> },
];

export function UsersTab({ invite }: { invite: ReactNode }) {
  const [url] = useUrlState();
  const tenant = useTenantId();
  const query = { ...(tenant ? { tenant_id: tenant } : {}), ...(url.q ? { q: url.q } : {}), ...(url.state ? { state: url.state as Schema<'UserState'> } : {}) };
  return (
    <ServerTable<User>
      id="users"
      label={t('users.users')}
      columns={columns}
      queryKey={['users', 'list', query]}
      fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/users', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
      rowId={(user) => user.id}
      rowLink={(user) => `/users/${user.id}`}
      filters={<FilterBar search="q" searchLabel={t('users.search')} fields={[{ key: 'state', label: t('fields.state'), options: STATES.map((each) => ({ value: each, label: label('states', each) })) }]} />}
      empty={<EmptyState title={t('users.none')} action={invite}>{t('users.noneHint')}</EmptyState>}
    />
  );
}
