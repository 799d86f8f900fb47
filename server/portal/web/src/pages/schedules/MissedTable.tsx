import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { Link } from '../../kit/Link';
import { plain } from '../../kit/safeText';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { TimeAgo } from '../../kit/TimeAgo';
import { label, t } from '../../messages/t';

type Missed = Schema<'MissedRun'>;

const columns: Columns<Missed> = [
  { id: 'device', header: t('fields.device'), meta: { phone: true }, cell: ({ row: { original: run } }) => (run.device_id ? <Link to={`/devices/${run.device_id}`}>{plain(run.device_name ?? run.device_id.slice(0, 8))}</Link> : '–') },
  { id: 'reason', header: t('schedules.missedReason'), meta: { width: 230, phone: true }, cell: ({ row }) => label('missedReasons', row.original.reason) },
  { id: 'nominal', header: t('schedules.nominal'), meta: { width: 160 }, cell: ({ row }) => <span className="tnum">{row.original.nominal_local.replace('T', ' ')}</span> },
  { id: 'zone', header: t('fields.zone'), meta: { width: 150 }, cell: ({ row }) => row.original.zone },
  { id: 'noted', header: t('schedules.noted'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.noted_at} /> },
  { id: 'caught', header: t('schedules.caughtUp'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.caught_up_at} /> },
  { id: 'schedule', header: t('schedules.title'), meta: { width: 100 }, cell: ({ row }) => <Link to={`/schedules/${row.original.schedule_id}`}>{t('jobs.open')}</Link> },
];

/** The ledger of runs that did not happen, and why. */
export function MissedTable({ query, maxHeight }: { query: { tenant_id?: string; schedule_id?: string }; maxHeight?: number | string }) {
  return (
    <ServerTable<Missed>
      id="missed"
      label={t('schedules.missed')}
      columns={columns}
      queryKey={['missed-runs', query]}
      fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/missed-runs', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
      rowId={(run) => run.id}
      {...(maxHeight === undefined ? {} : { maxHeight })}
      empty={<EmptyState title={t('schedules.missedNone')} />}
    />
  );
}
