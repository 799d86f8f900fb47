import { api, ok } from '../../api/client';
import type { Device, Schema } from '../../api/types';
import { FilterBar } from '../../kit/FilterBar';
import { plain } from '../../kit/safeText';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';

type Item = Schema<'SoftwareItem'>;

const columns: Columns<Item> = [
  { id: 'name', header: t('fields.name'), meta: { phone: true }, cell: ({ row }) => plain(row.original.name) },
  { id: 'version', header: t('fields.version'), meta: { width: 240, phone: true }, cell: ({ row }) => <span className="mono">{plain(row.original.version)}</span> },
  { id: 'publisher', header: t('devices.publisher'), meta: { width: 260 }, cell: ({ row }) => plain(row.original.publisher ?? '') },
  { id: 'source', header: t('devices.source'), meta: { width: 110 }, cell: ({ row }) => row.original.source },
  { id: 'installed', header: t('devices.installed'), meta: { width: 130 }, cell: ({ row }) => <TimeAgo at={row.original.installed_at} /> },
];

export function SoftwareTab({ device }: { device: Device }) {
  const [url] = useUrlState();
  const q = url.q ? { q: url.q } : {};
  return (
    <ServerTable<Item>
      id="software"
      label={t('devices.tabSoftware')}
      columns={columns}
      queryKey={['software', device.id, q]}
      fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/devices/{id}/software', { params: { path: { id: device.id }, query: { ...q, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
      rowId={(item) => `${item.source}/${item.name}/${item.version}`}
      pageSize={200}
      maxHeight="65dvh"
      filters={<FilterBar search="q" searchLabel={t('devices.searchSoftware')} />}
      empty={<EmptyState title={t('devices.noSoftware')} />}
    />
  );
}
