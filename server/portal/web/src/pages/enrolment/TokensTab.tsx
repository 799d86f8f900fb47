import { ActionIcon, Badge, Group } from '@mantine/core';
import { IconBan } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useTenantId } from '../../app/tenant';
import { useNow } from '../../kit/clock';
import { useConfirm } from '../../kit/Confirm';
import { number } from '../../kit/format';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { t } from '../../messages/t';

type Token = Schema<'EnrolmentToken'>;

function stateOf(token: Token, now: number): string {
  if (token.revoked_at) return 'revoked';
  if (token.uses >= token.max_uses) return 'used_up';
  return new Date(token.expires_at).getTime() <= now ? 'expired' : 'active';
}

const columns: Columns<Token> = [
  { id: 'label', header: t('enrolment.label'), meta: { phone: true }, cell: ({ row: { original: token } }) => token.label || `${token.tenant_name} · ${token.site_name}` },
  { id: 'tenant', header: t('fields.tenant'), meta: { width: 160 }, cell: ({ row }) => row.original.tenant_name },
  { id: 'site', header: t('fields.site'), meta: { width: 160 }, cell: ({ row }) => row.original.site_name },
  { id: 'state', header: t('fields.state'), meta: { width: 100, phone: true }, cell: ({ row }) => <TokenState token={row.original} /> },
  { id: 'uses', header: t('enrolment.uses'), meta: { width: 90, align: 'right' }, cell: ({ row: { original: token } }) => `${number(token.uses)} / ${number(token.max_uses)}` },
  {
    id: 'tags',
    header: t('fields.tags'),
    meta: { width: 170 },
    cell: ({ row }) => (
      <Group gap={4} wrap="nowrap">
        {row.original.tags.map((tag) => (
          <Badge key={tag} color="gray">
            {tag}
          </Badge>
        ))}
      </Group>
    ),
  },
  { id: 'expires', header: t('fields.expires'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.expires_at} /> },
  { id: 'by', header: t('fields.createdBy'), meta: { width: 170, optional: true }, cell: ({ row }) => row.original.created_by },
  { id: 'acts', header: '', meta: { width: 50, phone: true }, cell: ({ row }) => <Revoke token={row.original} /> },
];

export function TokensTab({ create }: { create: ReactNode }) {
  const tenant = useTenantId();
  const query = tenant ? { tenant_id: tenant } : {};
  return (
    <ServerTable<Token>
      id="tokens"
      label={t('enrolment.tokens')}
      columns={columns}
      queryKey={['enrolment-tokens', query]}
      fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/enrolment-tokens', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
      rowId={(token) => token.id}
      refreshMs={15_000}
      empty={
        <EmptyState title={t('enrolment.none')} action={create}>
          {t('enrolment.noneHint')}
        </EmptyState>
      }
    />
  );
}

function TokenState({ token }: { token: Token }) {
  return <StateBadge state={stateOf(token, useNow())} />;
}

function Revoke({ token }: { token: Token }) {
  const confirm = useConfirm();
  const { act, busy } = useAct('enrolment-tokens');
  if (stateOf(token, useNow()) !== 'active') return null;
  async function revoke() {
    if (!(await confirm({ title: t('enrolment.revokeTitle'), body: t('enrolment.revokeBody'), confirm: t('enrolment.revoke'), danger: true }))) return;
    await act(() => ok(api.DELETE('/api/v1/enrolment-tokens/{id}', { params: { path: { id: token.id } } })), t('enrolment.revoked'));
  }
  return (
    <ActionIcon aria-label={t('enrolment.revoke')} title={t('enrolment.revoke')} disabled={busy} onClick={() => void revoke()}>
      <IconBan size={15} />
    </ActionIcon>
  );
}
