import { Badge, Group, Text, Tooltip } from '@mantine/core';
import { label } from '../messages/t';
import classes from './StateBadge.module.css';

// One tone means one thing everywhere.
const TONES: Record<string, string[]> = {
  good: ['active', 'online', 'succeeded', 'approved', 'finished', 'enabled', 'intact'],
  busy: ['running', 'leased', 'canary', 'cancelling'],
  waits: ['pending', 'waiting_approval', 'overdue', 'suspended', 'invited', 'parked'],
  bad: ['failed', 'timed_out', 'quarantined', 'rejected', 'stopped'],
};

const toneOf = (state: string) => Object.keys(TONES).find((tone) => TONES[tone]?.includes(state)) ?? 'quiet';

/** A state as a coloured word; the word carries the meaning, the colour only helps. */
export function StateBadge({ state, hint }: { state: string; hint?: string | undefined }) {
  const badge = (
    <Badge className={classes.badge ?? ''} data-tone={toneOf(state)}>
      {label('states', state)}
    </Badge>
  );
  return hint ? <Tooltip label={hint}>{badge}</Tooltip> : badge;
}

/** Whether a device is there now: a dot and a word, lighter than a badge because every row has one. */
export function PresenceDot({ presence }: { presence: string }) {
  return (
    <Group gap={7} wrap="nowrap">
      <span className={classes.dot} data-presence={presence} aria-hidden />
      <Text span inherit>
        {label('states', presence)}
      </Text>
    </Group>
  );
}
