import { Group, Modal, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { useMemo } from 'react';
import { api, ok } from '../../api/client';
import type { Schema, Task, TaskState } from '../../api/types';
import { duration } from '../../kit/format';
import { FilterBar } from '../../kit/FilterBar';
import { Link } from '../../kit/Link';
import { plain } from '../../kit/safeText';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { TaskView } from './TaskView';

const STATES: TaskState[] = ['queued', 'leased', 'running', 'succeeded', 'failed', 'timed_out', 'cancelling', 'cancelled', 'expired', 'skipped', 'parked'];

type Props = {
  query: { job_id?: string; device_id?: string };
  /** Results still come in. */
  live: boolean;
  withDevice?: boolean;
  withJob?: boolean;
  maxHeight?: number | string;
};

/** The tasks of a job or a device; a row opens the task beside it, and the address says which. */
export function TaskTable({ query, live, withDevice, withJob, maxHeight }: Props) {
  const [url, setUrl] = useUrlState();
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const state = STATES.find((each) => each === url.state);
  const asked = { ...query, ...(state ? { state } : {}) };
  const columns = useMemo(() => taskColumns(withDevice ?? false, withJob ?? false), [withDevice, withJob]);

  return (
    <>
      <ServerTable<Task>
        id="tasks"
        label={t('jobs.tasks')}
        columns={columns}
        queryKey={['tasks', 'list', asked]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/tasks', { params: { query: { ...asked, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(task) => task.id}
        onRow={(task) => setUrl({ task: task.id }, true)}
        refreshMs={live ? 3_000 : 30_000}
        {...(maxHeight === undefined ? {} : { maxHeight })}
        filters={<FilterBar fields={[{ key: 'state', label: t('fields.state'), options: STATES.map((each) => ({ value: each, label: label('states', each) })) }]} />}
        empty={<EmptyState title={t('jobs.noTasks')} />}
      />
      {url.task && (
        <Modal opened onClose={() => setUrl({ task: undefined })} title={<Text fw={600}>{t('jobs.task')}</Text>} size={900} fullScreen={phone ?? false} yOffset="4dvh">
          <TaskView id={url.task} bare />
        </Modal>
      )}
    </>
  );
}

function taskColumns(withDevice: boolean, withJob: boolean): Columns<Task> {
  return [
    {
      id: 'what',
      header: withDevice ? t('fields.device') : t('jobs.task'),
      meta: { phone: true },
      cell: ({ row: { original: task } }) => (withDevice ? <Text span inherit fw={550}>{plain(task.device_name)}</Text> : label('taskKinds', task.kind)),
    },
    { id: 'state', header: t('fields.state'), meta: { width: 140, phone: true }, cell: ({ row }) => <StateBadge state={row.original.state} hint={row.original.reason || undefined} /> },
    ...(withDevice ? ([{ id: 'tenant', header: t('fields.tenant'), meta: { width: 180 }, cell: ({ row }) => row.original.tenant_name }] satisfies Columns<Task>) : []),
    { id: 'exit', header: t('jobs.exitCode'), meta: { width: 90, align: 'right' }, cell: ({ row }) => row.original.exit_code ?? '–' },
    { id: 'reason', header: t('kit.reason'), meta: { width: 260 }, cell: ({ row }) => plain(row.original.reason) },
    { id: 'took', header: t('jobs.took'), meta: { width: 100, align: 'right' }, cell: ({ row }) => took(row.original) },
    { id: 'created', header: t('jobs.startedAt'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.started_at ?? row.original.created_at} /> },
    ...(withJob
      ? ([
          {
            id: 'job',
            header: t('jobs.one'),
            meta: { width: 90 },
            cell: ({ row }) => (
              <Group>
                <Link to={`/jobs/${row.original.job_id}`}>{t('jobs.open')}</Link>
              </Group>
            ),
          },
        ] satisfies Columns<Task>)
      : []),
  ];
}

export function took(task: Schema<'Task'>): string {
  if (!task.started_at || !task.finished_at) return '–';
  return duration((Date.parse(task.finished_at) - Date.parse(task.started_at)) / 1000);
}
