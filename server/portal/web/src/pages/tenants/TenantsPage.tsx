import { Badge, Button, Group, Text } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema, Tenant } from '../../api/types';
import { useCan, useMe } from '../../app/me';
import { FilterBar } from '../../kit/FilterBar';
import { number } from '../../kit/format';
import { Link } from '../../kit/Link';
import { Page } from '../../kit/Page';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { TenantDialog } from './TenantDialog';

const STATES: Schema<'TenantState'>[] = ['active', 'suspended', 'archived'];

const columns: Columns<Tenant> = [
  {
    id: 'name',
    header: t('fields.name'),
    meta: { phone: true },
    cell: ({ row: { original: tenant } }) => (
      <Group gap="xs" wrap="nowrap">
        <Link to={`/tenants/${tenant.id}`} fw={550} c="inherit" className="truncate">
          {tenant.name}
        </Link>
        {tenant.is_provider && <Badge>{t('tenants.provider')}</Badge>}
      </Group>
    ),
  },
  { id: 'state', header: t('fields.state'), meta: { width: 110, phone: true }, cell: ({ row }) => <StateBadge state={row.original.state} /> },
  { id: 'sites', header: t('tenants.sites'), meta: { width: 90, align: 'right' }, cell: ({ row }) => number(row.original.site_count) },
  { id: 'devices', header: t('fields.devices'), meta: { width: 100, align: 'right' }, cell: ({ row }) => number(row.original.device_count) },
  { id: 'zone', header: t('fields.zone'), meta: { width: 180 }, cell: ({ row }) => row.original.zone },
  { id: 'approval', header: t('tenants.newDevices'), meta: { width: 190, optional: true }, cell: ({ row }) => t(row.original.enrolment_approval ? 'tenants.wait' : 'tenants.atOnce') },
  { id: 'slug', header: t('tenants.slug'), meta: { width: 150, optional: true }, cell: ({ row }) => <Text span size="xs" className="mono">{row.original.slug}</Text> },
  { id: 'created', header: t('fields.created'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.created_at} /> },
];

/** The clients of the MSP. */
export function Component() {
  const [url] = useUrlState();
  const can = useCan();
  const { all_tenants: reachesAll } = useMe();
  const [creating, setCreating] = useState(false);
  const query = { ...(url.q ? { q: url.q } : {}), ...(url.state ? { state: url.state as Schema<'TenantState'> } : {}) };
  // A new client lies outside of what somebody holds who was given named clients.
  const create = can('tenants.manage') && reachesAll && (
    <Button leftSection={<IconPlus size={15} />} onClick={() => setCreating(true)}>
      {t('tenants.create')}
    </Button>
  );
  return (
    <Page fill title={t('nav.tenants')} actions={create}>
      <ServerTable<Tenant>
        id="tenants"
        label={t('nav.tenants')}
        columns={columns}
        queryKey={['tenants', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/tenants', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(tenant) => tenant.id}
        rowLink={(tenant) => `/tenants/${tenant.id}`}
        filters={<FilterBar search="q" searchLabel={t('fields.tenantPlaceholder')} fields={[{ key: 'state', label: t('fields.state'), options: STATES.map((each) => ({ value: each, label: label('states', each) })) }]} />}
        empty={
          <EmptyState title={t('tenants.none')} action={create}>
            {t('tenants.noneHint')}
          </EmptyState>
        }
      />
      {creating && <TenantDialog onClose={() => setCreating(false)} />}
    </Page>
  );
}
