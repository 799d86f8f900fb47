import { Alert, Button, Code, Group, Stack, Text } from '@mantine/core';
import { IconClockPause, IconPlayerStop } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Task } from '../../api/types';
import { useCan } from '../../app/me';
import { CodeBlock } from '../../kit/Copy';
import { exactTime } from '../../kit/format';
import { Link } from '../../kit/Link';
import { OutputView } from '../../kit/OutputView';
import { Facts, Panel } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { ErrorState, PageSkeleton } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { useAct } from '../../kit/useAct';
import { t } from '../../messages/t';
import { took } from './TaskTable';
import { isOver, useLiveTask } from './useLiveTask';

/** A task with its output, which grows while it runs. */
export function TaskView({ id, bare }: { id: string; bare?: boolean }) {
  const task = useQuery({
    queryKey: ['tasks', id],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/tasks/{id}', { params: { path: { id } }, signal })),
    refetchInterval: ({ state }) => (state.data && isOver(state.data.state) ? false : 2_000),
  });
  if (task.isError) return <ErrorState error={task.error} retry={() => void task.refetch()} />;
  if (!task.data) return <PageSkeleton rows={4} />;
  const body = <TaskBody task={task.data} />;
  return bare ? body : <Panel>{body}</Panel>;
}

function TaskBody({ task }: { task: Task }) {
  const can = useCan();
  const { act, busy } = useAct('tasks', 'jobs');
  const over = isOver(task.state);
  const output = useLiveTask(task);
  const isScript = task.kind === 'script.run';

  return (
    <Stack gap="md">
      <Group justify="space-between" gap="sm">
        <Group gap="sm">
          <StateBadge state={task.state} />
          <Link to={`/devices/${task.device_id}`} fw={550}>
            {plain(task.device_name)}
          </Link>
          <Text size="sm" c="dimmed">
            {task.tenant_name}
          </Text>
        </Group>
        <Group gap="sm">
          {task.exit_code !== null && task.exit_code !== undefined && (
            <Text size="sm">
              {t('jobs.exitCode')} <Code fz="sm">{task.exit_code}</Code>
            </Text>
          )}
          {!over && can('jobs.cancel') && task.state !== 'cancelling' && (
            <Button variant="default" leftSection={<IconPlayerStop size={15} />} loading={busy} onClick={() => void act(() => ok(api.POST('/api/v1/tasks/{id}/cancel', { params: { path: { id: task.id } } })))}>
              {t('jobs.cancelTask')}
            </Button>
          )}
        </Group>
      </Group>
      {task.reason && <Alert color={task.state === 'failed' ? 'red' : 'gray'}>{plain(task.reason)}</Alert>}
      {(task.state === 'queued' || task.state === 'leased') && (
        <Alert color="blue" icon={<IconClockPause size={18} />}>
          {t('jobs.queuedHint', { until: exactTime(task.expires_at) })}
        </Alert>
      )}
      {isScript && (over || output.stdout || output.stderr || task.state === 'running' || task.state === 'cancelling') && (
        <OutputView
          stdout={output.stdout}
          stderr={output.stderr}
          {...(over ? { stdoutBytes: task.stdout_bytes, stderrBytes: task.stderr_bytes } : {})}
          truncated={task.stdout_truncated || task.stderr_truncated}
          live={!over}
          name={`task-${task.id.slice(0, 13)}`}
        />
      )}
      {!isScript && task.result !== null && task.result !== undefined && <CodeBlock code={JSON.stringify(task.result, null, 2)} label={t('jobs.result')} />}
      <Facts
        items={[
          [t('jobs.created'), exactTime(task.created_at)],
          task.leased_at ? [t('jobs.handedOver'), exactTime(task.leased_at)] : null,
          task.started_at ? [t('jobs.startedAt'), exactTime(task.started_at)] : null,
          task.finished_at ? [t('jobs.finishedAt'), exactTime(task.finished_at)] : null,
          task.finished_at ? [t('jobs.took'), took(task)] : null,
          [t('jobs.attempts'), task.attempts],
          task.late ? [t('jobs.late'), t('kit.yes')] : null,
          ['ID', <Code key="id">{task.id}</Code>],
        ]}
      />
    </Stack>
  );
}
