import { Alert, Button, Code, Group, Stack, Text } from '@mantine/core';
import { IconPlayerStop, IconRefresh, IconUserCheck } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Job } from '../../api/types';
import { useCan } from '../../app/me';
import { useGo } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { CodeBlock } from '../../kit/Copy';
import { exactTime } from '../../kit/format';
import { Link } from '../../kit/Link';
import { Facts, Page, Panel } from '../../kit/Page';
import { ErrorState, PageSkeleton } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TargetsText } from '../../kit/TargetsText';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { label, t } from '../../messages/t';
import { JobProgress } from './JobProgress';
import { TaskTable } from './TaskTable';
import { TaskView } from './TaskView';

const OVER = ['finished', 'cancelled', 'rejected', 'stopped'];

export function Component() {
  const { id = '' } = useParams();
  const job = useQuery({
    queryKey: ['jobs', id],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/jobs/{id}', { params: { path: { id } }, signal })),
    refetchInterval: ({ state }) => (state.data && OVER.includes(state.data.state) ? false : 2_500),
  });

  if (job.isError) {
    return (
      <Page title={t('jobs.one')} crumbs={[{ label: t('jobs.title'), to: '/jobs' }]}>
        <ErrorState error={job.error} retry={() => void job.refetch()} />
      </Page>
    );
  }
  if (!job.data) {
    return (
      <Page title={t('jobs.one')}>
        <PageSkeleton />
      </Page>
    );
  }
  return <JobView job={job.data} />;
}

function JobView({ job }: { job: Job }) {
  const over = OVER.includes(job.state);
  const single = job.tasks_total === 1;
  return (
    <Page
      title={job.name || label('taskKinds', job.kind)}
      crumbs={[{ label: t('jobs.title'), to: '/jobs' }]}
      badge={<StateBadge state={job.state} />}
      subtitle={
        <>
          {t('jobs.startedBy', { who: job.created_by })} <TimeAgo at={job.created_at} />
        </>
      }
      actions={<Acts job={job} over={over} />}
    >
      {job.state === 'waiting_approval' && (
        <Alert color="yellow" icon={<IconUserCheck size={18} />} title={t('jobs.waitingTitle')}>
          {t('jobs.waitingBody')} <Link to="/approvals">{t('nav.approvals')}</Link>
        </Alert>
      )}
      {job.state_reason && job.state !== 'waiting_approval' && <Alert color={job.state === 'stopped' ? 'red' : 'gray'}>{job.state_reason}</Alert>}
      {!single && (
        <Panel>
          <Stack gap="sm">
            <JobProgress job={job} size="lg" />
            <Group gap="lg">
              {Object.entries(job.counts)
                .filter(([, n]) => n > 0)
                .map(([state, n]) => (
                  <Link key={state} to={`/jobs/${job.id}?state=${state}`} c="inherit">
                    <Group gap={6}>
                      <StateBadge state={state} />
                      <Text size="sm" fw={600} className="tnum">
                        {n}
                      </Text>
                    </Group>
                  </Link>
                ))}
            </Group>
          </Stack>
        </Panel>
      )}
      {single ? <OnlyTask jobId={job.id} /> : <TaskTable query={{ job_id: job.id }} live={!over} withDevice maxHeight="60dvh" />}
      <Panel title={t('jobs.details')}>
        <Stack gap="md">
          <Facts
            items={[
              [t('selector.label'), <TargetsText key="t" targets={job.targets} />],
              [t('jobs.kind'), label('taskKinds', job.kind)],
              [t('jobs.origin'), job.schedule_id ? <Link key="s" to={`/schedules/${job.schedule_id}`}>{label('origins', job.origin)}</Link> : label('origins', job.origin)],
              job.retry_of ? [t('jobs.retryOf'), <Link key="r" to={`/jobs/${job.retry_of}`}>{t('jobs.firstJob')}</Link>] : null,
              [t('jobs.notBefore'), exactTime(job.not_before)],
              [t('fields.expires'), exactTime(job.expires_at)],
              job.finished_at ? [t('jobs.finishedAt'), exactTime(job.finished_at)] : null,
              ['ID', <Code key="i">{job.id}</Code>],
            ]}
          />
          <Payload payload={job.payload} />
        </Stack>
      </Panel>
    </Page>
  );
}

function OnlyTask({ jobId }: { jobId: string }) {
  const tasks = useQuery({ queryKey: ['tasks', 'of', jobId], queryFn: ({ signal }) => ok(api.GET('/api/v1/tasks', { params: { query: { job_id: jobId, limit: 1 } }, signal })) });
  if (tasks.isError) return <ErrorState error={tasks.error} retry={() => void tasks.refetch()} />;
  const task = tasks.data?.items[0];
  return task ? <TaskView id={task.id} /> : <PageSkeleton rows={3} />;
}

export function Payload({ payload }: { payload: Record<string, unknown> }) {
  const { script, script_id: scriptId, parameters, ...rest } = payload;
  const given = typeof parameters === 'object' && parameters !== null ? Object.entries(parameters) : [];
  return (
    <>
      <Facts
        items={[
          typeof scriptId === 'string' && scriptId ? [t('fields.script'), <Link key="s" to={`/scripts/${scriptId}`}>{t('jobs.libraryScript')}</Link>] : null,
          typeof rest.interpreter === 'string' ? [t('scripts.interpreter'), label('interpreters', rest.interpreter)] : null,
          typeof rest.timeout_seconds === 'number' ? [t('scripts.timeout'), `${rest.timeout_seconds} s`] : null,
          typeof rest.run_as === 'string' ? [t('scripts.runAs'), label('runAs', rest.run_as)] : null,
          ...given.map(([name, value]) => [name, <Code key={name}>{String(value)}</Code>] as const),
        ]}
      />
      {typeof script === 'string' && script && <CodeBlock code={script} label={t('scripts.body')} />}
    </>
  );
}

function Acts({ job, over }: { job: Job; over: boolean }) {
  const can = useCan();
  const confirm = useConfirm();
  const go = useGo();
  const { act, busy } = useAct('jobs', 'tasks');
  const path = { params: { path: { id: job.id } } };
  const failures = ['failed', 'timed_out', 'expired'].reduce((sum, state) => sum + (job.counts[state] ?? 0), 0);

  async function cancel() {
    if (await confirm({ title: t('jobs.cancelTitle'), body: t('jobs.cancelBody'), confirm: t('jobs.cancel'), danger: true })) {
      await act(() => ok(api.POST('/api/v1/jobs/{id}/cancel', path)), t('jobs.cancelled'));
    }
  }

  async function retry() {
    const next = await act(() => ok(api.POST('/api/v1/jobs/{id}/retry-failed', path)));
    if (next) go(`/jobs/${next.id}`);
  }

  return (
    <>
      {failures > 0 && can('jobs.run') && (
        <Button variant="default" leftSection={<IconRefresh size={15} />} loading={busy} onClick={() => void retry()}>
          {t('jobs.retryFailed', { n: failures })}
        </Button>
      )}
      {!over && can('jobs.cancel') && (
        <Button variant="default" leftSection={<IconPlayerStop size={15} />} loading={busy} onClick={() => void cancel()}>
          {t('jobs.cancel')}
        </Button>
      )}
    </>
  );
}
