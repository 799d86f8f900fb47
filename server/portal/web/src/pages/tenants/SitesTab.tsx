import { Switch } from '@mantine/core';
import { api, ok } from '../../api/client';
import type { Site, Tenant } from '../../api/types';
import { FilterBar } from '../../kit/FilterBar';
import { number } from '../../kit/format';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { SiteDrawer } from './SiteDrawer';

const columns: Columns<Site> = [
  { id: 'name', header: t('fields.name'), meta: { phone: true }, cell: ({ row }) => row.original.name },
  { id: 'address', header: t('tenants.address'), meta: { width: 320 }, cell: ({ row }) => row.original.address },
  { id: 'zone', header: t('fields.zone'), meta: { width: 200 }, cell: ({ row }) => row.original.effective_zone },
  { id: 'devices', header: t('fields.devices'), meta: { width: 100, align: 'right', phone: true }, cell: ({ row }) => number(row.original.device_count) },
  { id: 'state', header: t('fields.state'), meta: { width: 110 }, cell: ({ row }) => <StateBadge state={row.original.archived ? 'archived' : 'active'} /> },
];

export function SitesTab({ tenant }: { tenant: Tenant }) {
  const [url, setUrl] = useUrlState();
  const archived = url.archived === 'true';
  const query = { tenant_id: tenant.id, archived, ...(url.q ? { q: url.q } : {}) };
  return (
    <>
      <ServerTable<Site>
        id="sites"
        label={t('tenants.sites')}
        columns={columns}
        queryKey={['sites', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/sites', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(site) => site.id}
        onRow={(site) => setUrl({ site: site.id }, true)}
        maxHeight={560}
        filters={
          <FilterBar search="q" searchLabel={t('fields.sitePlaceholder')}>
            <Switch size="xs" label={t('tenants.showArchived')} checked={archived} onChange={(event) => setUrl({ archived: event.currentTarget.checked ? 'true' : undefined })} />
          </FilterBar>
        }
        empty={<EmptyState title={t('tenants.noSites')}>{t('tenants.noSitesHint')}</EmptyState>}
      />
      {url.site && <SiteDrawer id={url.site} onClose={() => setUrl({ site: undefined })} />}
    </>
  );
}
