import { ActionIcon, Badge, Button, Group, Tooltip } from '@mantine/core';
import { IconKeyOff, IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useCan } from '../../app/me';
import { useConfirm } from '../../kit/Confirm';
import { useNow } from '../../kit/clock';
import { dateTime } from '../../kit/format';
import { Page } from '../../kit/Page';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { label, t } from '../../messages/t';
import { ApiKeyDialog } from './ApiKeyDialog';

type ApiKey = Schema<'ApiKey'>;

const stateOf = (key: ApiKey, now: number) => (key.revoked_at ? 'revoked' : new Date(key.expires_at).getTime() <= now ? 'expired' : 'active');

const columns: Columns<ApiKey> = [
  { id: 'name', header: t('fields.name'), meta: { phone: true }, cell: ({ row }) => row.original.name },
  { id: 'prefix', header: t('apiKeys.prefix'), meta: { width: 200 }, cell: ({ row }) => <Prefix text={row.original.prefix} /> },
  { id: 'state', header: t('fields.state'), meta: { width: 100, phone: true }, cell: ({ row }) => <KeyState apiKey={row.original} /> },
  { id: 'permissions', header: t('apiKeys.permissions'), meta: { width: 150 }, cell: ({ row }) => <Permissions names={row.original.permissions} /> },
  { id: 'reach', header: t('users.reach'), meta: { width: 130 }, cell: ({ row }) => (row.original.all_tenants ? t('nav.allTenants') : t('profile.tenantCount', { n: row.original.tenant_ids.length })) },
  { id: 'networks', header: t('apiKeys.networks'), meta: { width: 170, optional: true }, cell: ({ row }) => <span className="mono">{row.original.allowed_networks.join(', ') || t('apiKeys.anywhere')}</span> },
  { id: 'by', header: t('fields.createdBy'), meta: { width: 170, optional: true }, cell: ({ row }) => row.original.created_by },
  { id: 'used', header: t('profile.lastUsed'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.last_used_at} none={t('apiKeys.neverUsed')} /> },
  { id: 'expires', header: t('fields.expires'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.expires_at} /> },
];

const actsColumn: Columns<ApiKey>[number] = { id: 'acts', header: '', meta: { width: 50, phone: true }, cell: ({ row }) => <Revoke apiKey={row.original} /> };

/** Keys for programs. */
export function Component() {
  const manages = useCan()('api_keys.manage');
  const [creating, setCreating] = useState(false);
  const create = manages && (
    <Button leftSection={<IconPlus size={15} />} onClick={() => setCreating(true)}>
      {t('apiKeys.create')}
    </Button>
  );
  return (
    <Page fill title={t('nav.apiKeys')} subtitle={t('apiKeys.subtitle')} actions={create}>
      <ServerTable<ApiKey>
        id="api-keys"
        label={t('nav.apiKeys')}
        columns={manages ? [...columns, actsColumn] : columns}
        queryKey={['api-keys']}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/api-keys', { params: { query: { limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(key) => key.id}
        empty={
          <EmptyState title={t('apiKeys.none')} action={create}>
            {t('apiKeys.noneHint')}
          </EmptyState>
        }
      />
      {creating && <ApiKeyDialog onClose={() => setCreating(false)} />}
    </Page>
  );
}

/** Keys made in the same minute begin alike; the end of the prefix tells them apart. */
function Prefix({ text }: { text: string }) {
  return (
    <Tooltip label={<span className="foreign mono">{text}</span>}>
      <span className="mono">{text.length > 24 ? `${text.slice(0, 10)}…${text.slice(-8)}` : text}</span>
    </Tooltip>
  );
}

function KeyState({ apiKey }: { apiKey: ApiKey }) {
  const state = stateOf(apiKey, useNow());
  return <StateBadge state={state} hint={apiKey.revoked_at ? dateTime(apiKey.revoked_at) : undefined} />;
}

function Permissions({ names }: { names: string[] }) {
  return (
    <Tooltip label={names.map((each) => label('permissions', each)).join(' · ') || '–'}>
      <Badge color="gray">{t('apiKeys.permissionCount', { n: names.length })}</Badge>
    </Tooltip>
  );
}

function Revoke({ apiKey }: { apiKey: ApiKey }) {
  const confirm = useConfirm();
  const { act, busy } = useAct('api-keys');
  if (apiKey.revoked_at) return null;
  async function revoke() {
    if (!(await confirm({ title: t('apiKeys.revokeTitle', { name: apiKey.name }), body: t('apiKeys.revokeBody'), confirm: t('apiKeys.revoke'), danger: true }))) return;
    await act(() => ok(api.DELETE('/api/v1/api-keys/{id}', { params: { path: { id: apiKey.id } } })), t('apiKeys.revoked'));
  }
  return (
    <Group justify="flex-end">
      <ActionIcon aria-label={t('apiKeys.revokeTitle', { name: apiKey.name })} disabled={busy} onClick={() => void revoke()}>
        <IconKeyOff size={15} />
      </ActionIcon>
    </Group>
  );
}
