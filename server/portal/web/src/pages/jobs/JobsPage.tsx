import { Button } from '@mantine/core';
import { IconPlayerPlay } from '@tabler/icons-react';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Job, Schema } from '../../api/types';
import { useCan } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Link } from '../../kit/Link';
import { Page } from '../../kit/Page';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { JobProgress } from './JobProgress';
import { RunDialog } from './RunDialog';

const STATES: Schema<'JobState'>[] = ['running', 'waiting_approval', 'canary', 'finished', 'cancelled', 'stopped', 'rejected'];

const columns: Columns<Job> = [
  {
    id: 'name',
    header: t('fields.name'),
    meta: { phone: true },
    cell: ({ row: { original: job } }) => (
      <Link to={`/jobs/${job.id}`} fw={550} c="inherit">
        {job.name || label('taskKinds', job.kind)}
      </Link>
    ),
  },
  { id: 'state', header: t('fields.state'), meta: { width: 150, phone: true }, cell: ({ row }) => <StateBadge state={row.original.state} hint={row.original.state_reason || undefined} /> },
  { id: 'progress', header: t('jobs.progress'), meta: { width: 260 }, cell: ({ row }) => <JobProgress job={row.original} /> },
  { id: 'kind', header: t('jobs.kind'), meta: { width: 100 }, cell: ({ row }) => label('taskKinds', row.original.kind) },
  { id: 'origin', header: t('jobs.origin'), meta: { width: 110 }, cell: ({ row }) => label('origins', row.original.origin) },
  { id: 'by', header: t('fields.createdBy'), meta: { width: 190 }, cell: ({ row }) => row.original.created_by },
  { id: 'created', header: t('jobs.startedAt'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.created_at} /> },
];

export function Component() {
  const [url] = useUrlState();
  const tenant = useTenantId();
  const can = useCan();
  const [running, setRunning] = useState(false);
  const query = {
    ...(tenant ? { tenant_id: tenant } : {}),
    ...(url.state ? { state: url.state as Schema<'JobState'> } : {}),
    ...(url.kind ? { kind: url.kind as Schema<'TaskKind'> } : {}),
    ...(url.schedule_id ? { schedule_id: url.schedule_id } : {}),
  };
  const start = can('jobs.run') && (
    <Button leftSection={<IconPlayerPlay size={15} />} onClick={() => setRunning(true)}>
      {t('devices.runScript')}
    </Button>
  );

  return (
    <Page fill title={t('jobs.title')} actions={start}>
      <ServerTable<Job>
        id="jobs"
        label={t('jobs.title')}
        columns={columns}
        queryKey={['jobs', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/jobs', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(job) => job.id}
        rowLink={(job) => `/jobs/${job.id}`}
        refreshMs={10_000}
        filters={
          <FilterBar
            also={['schedule_id']}
            fields={[
              { key: 'state', label: t('fields.state'), options: STATES.map((each) => ({ value: each, label: label('states', each) })) },
              { key: 'kind', label: t('jobs.kind'), options: ['script.run', 'inventory.collect'].map((each) => ({ value: each, label: label('taskKinds', each) })) },
            ]}
          />
        }
        empty={
          <EmptyState title={t('jobs.none')} action={start}>
            {t('jobs.noneHint')}
          </EmptyState>
        }
      />
      {running && <RunDialog targets={tenant ? { tenant_id: tenant } : { device_ids: [] }} onClose={() => setRunning(false)} />}
    </Page>
  );
}
