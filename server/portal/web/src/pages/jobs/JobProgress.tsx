import { Group, Progress, Text, Tooltip } from '@mantine/core';
import type { Job } from '../../api/types';
import { number } from '../../kit/format';
import { label } from '../../messages/t';

// The order one reads them in: what is done, what went wrong, what goes on, what is to come.
const PARTS: [string, string][] = [
  ['succeeded', 'teal.6'],
  ['failed', 'red.6'],
  ['timed_out', 'red.4'],
  ['expired', 'orange.5'],
  ['skipped', 'gray.5'],
  ['cancelled', 'gray.5'],
  ['running', 'blue.5'],
  ['cancelling', 'blue.3'],
  ['leased', 'blue.3'],
];

const OPEN = ['queued', 'leased', 'running', 'cancelling', 'parked'];

export const finishedOf = (job: Job) => job.tasks_total - OPEN.reduce((sum, state) => sum + (job.counts[state] ?? 0), 0);

/** How far a job is, by the states of its tasks. */
export function JobProgress({ job, size = 'sm' }: { job: Job; size?: 'sm' | 'lg' }) {
  const said = [...PARTS.map(([state]) => state), 'queued', 'parked']
    .filter((state) => (job.counts[state] ?? 0) > 0)
    .map((state) => `${label('states', state)} ${number(job.counts[state] ?? 0)}`)
    .join(' · ');
  return (
    <Tooltip label={said || '–'}>
      <Group gap="xs" wrap="nowrap">
        <Progress.Root size={size === 'lg' ? 10 : 6} flex={1} aria-label={said}>
          {PARTS.map(([state, colour]) => {
            const n = job.counts[state] ?? 0;
            return n > 0 ? <Progress.Section key={state} value={(n / Math.max(1, job.tasks_total)) * 100} color={colour} aria-label={label('states', state)} /> : null;
          })}
        </Progress.Root>
        <Text size="xs" c="dimmed" className="tnum" miw={64} ta="right">
          {number(finishedOf(job))} / {number(job.tasks_total)}
        </Text>
      </Group>
    </Tooltip>
  );
}
