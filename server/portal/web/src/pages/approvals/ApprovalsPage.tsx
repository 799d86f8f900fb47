import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useTenantId } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Link } from '../../kit/Link';
import { Page } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';

type Approval = Schema<'Approval'>;

const STATES: Schema<'ApprovalState'>[] = ['pending', 'approved', 'rejected', 'withdrawn', 'expired'];

const columns: Columns<Approval> = [
  {
    id: 'summary',
    header: t('approvals.what'),
    meta: { phone: true },
    cell: ({ row: { original: approval } }) => (
      <Link to={`/approvals/${approval.id}`} fw={550} c="inherit">
        {plain(approval.summary)}
      </Link>
    ),
  },
  { id: 'kind', header: t('approvals.kind'), meta: { width: 140 }, cell: ({ row }) => label('approvalKinds', row.original.kind) },
  { id: 'state', header: t('fields.state'), meta: { width: 110, phone: true }, cell: ({ row }) => <StateBadge state={row.original.state} /> },
  { id: 'by', header: t('approvals.requestedBy'), meta: { width: 190 }, cell: ({ row }) => row.original.requested_by },
  { id: 'at', header: t('approvals.requested'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.requested_at} /> },
  { id: 'until', header: t('approvals.until'), meta: { width: 120 }, cell: ({ row: { original: approval } }) => (approval.state === 'pending' ? <TimeAgo at={approval.expires_at} /> : (approval.decided_by ?? '')) },
];

/** What waits for a second person, and what was decided. */
export function Component() {
  const [url] = useUrlState();
  const tenant = useTenantId();
  const query = { ...(tenant ? { tenant_id: tenant } : {}), ...(url.state ? { state: url.state as Schema<'ApprovalState'> } : {}) };
  return (
    <Page fill title={t('nav.approvals')} subtitle={t('approvals.subtitle')}>
      <ServerTable<Approval>
        id="approvals"
        label={t('nav.approvals')}
        columns={columns}
        queryKey={['approvals', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/approvals', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(approval) => approval.id}
        rowLink={(approval) => `/approvals/${approval.id}`}
        refreshMs={15_000}
        filters={<FilterBar fields={[{ key: 'state', label: t('fields.state'), options: STATES.map((each) => ({ value: each, label: label('states', each) })) }]} />}
        empty={<EmptyState title={t('approvals.none')}>{t('approvals.noneHint')}</EmptyState>}
      />
    </Page>
  );
}
