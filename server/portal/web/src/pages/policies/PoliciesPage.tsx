import { Button, Group, Modal } from '@mantine/core';
import { IconPlus, IconScale } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useCan } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Loaded } from '../../kit/Loaded';
import { Page } from '../../kit/Page';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { TenantName } from '../../kit/TenantName';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { EffectiveDialog } from './EffectiveDialog';
import { PolicyDialog } from './PolicyDialog';
import { SCOPES, specText, type Policy } from './policy';

const columns: Columns<Policy> = [
  { id: 'name', header: t('fields.name'), meta: { phone: true }, cell: ({ row }) => row.original.name },
  { id: 'scope', header: t('policies.holdsAt'), meta: { width: 250, phone: true }, cell: ({ row }) => <Scope policy={row.original} /> },
  { id: 'tenant', header: t('fields.tenant'), meta: { width: 160 }, cell: ({ row }) => (row.original.tenant_id === PROVIDER_ID ? t('nav.allTenants') : <TenantName id={row.original.tenant_id} />) },
  { id: 'priority', header: t('policies.priority'), meta: { width: 80, align: 'right' }, cell: ({ row }) => (row.original.scope === 'tag' ? row.original.priority : '') },
  { id: 'sets', header: t('policies.sets'), meta: { width: 330 }, cell: ({ row }) => specText(row.original.spec) },
  { id: 'updated', header: t('fields.updated'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.updated_at} /> },
];

/** Settings that endpoints inherit: the nearest one wins. */
export function Component() {
  const [url, setUrl] = useUrlState();
  const tenant = useTenantId();
  const manages = useCan()('policies.manage');
  const [looking, setLooking] = useState(false);
  const query = { ...(tenant ? { tenant_id: tenant } : {}), ...(url.scope ? { scope: url.scope as Schema<'PolicyScope'> } : {}) };
  const create = manages && (
    <Button leftSection={<IconPlus size={15} />} onClick={() => setUrl({ policy: 'new' }, true)}>
      {t('policies.create')}
    </Button>
  );
  return (
    <Page
      fill
      title={t('nav.policies')}
      subtitle={t('policies.subtitle')}
      actions={
        <>
          <Button variant="default" leftSection={<IconScale size={15} />} onClick={() => setLooking(true)}>
            {t('policies.effective')}
          </Button>
          {create}
        </>
      }
    >
      <ServerTable<Policy>
        id="policies"
        label={t('nav.policies')}
        columns={columns}
        queryKey={['policies', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/policies', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(policy) => policy.id}
        onRow={(policy) => setUrl({ policy: policy.id }, true)}
        filters={<FilterBar fields={[{ key: 'scope', label: t('policies.holdsAt'), options: SCOPES.map((each) => ({ value: each, label: label('policyScopes', each) })) }]} />}
        empty={
          <EmptyState title={t('policies.none')} action={create}>
            {t('policies.noneHint')}
          </EmptyState>
        }
      />
      {url.policy === 'new' && manages && <PolicyDialog onClose={() => setUrl({ policy: undefined })} />}
      {url.policy && url.policy !== 'new' && <Chosen id={url.policy} onClose={() => setUrl({ policy: undefined })} />}
      {looking && <EffectiveDialog onClose={() => setLooking(false)} />}
    </Page>
  );
}

/** The policy of an address such as a device's page gives. */
function Chosen({ id, onClose }: { id: string; onClose: () => void }) {
  const policy = useQuery({ queryKey: ['policies', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/policies/{id}', { params: { path: { id } }, signal })) });
  if (policy.data) return <PolicyDialog key={policy.data.version} policy={policy.data} onClose={onClose} />;
  return (
    <Modal opened onClose={onClose}>
      <Loaded query={policy} rows={3}>
        {() => null}
      </Loaded>
    </Modal>
  );
}

function Scope({ policy }: { policy: Policy }) {
  const name = policy.scope === 'tag' ? policy.tag : policy.scope === 'provider' ? '' : policy.scope_name;
  return (
    <Group gap={6} wrap="nowrap">
      <span>{label('policyScopes', policy.scope)}</span>
      {name && <b className="truncate">{name}</b>}
    </Group>
  );
}
