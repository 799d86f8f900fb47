import { Badge, Group, Text, Tooltip } from '@mantine/core';
import { label } from '../messages/t';
import classes from './StateBadge.module.css';

// One colour means one thing everywhere: green works, yellow waits for somebody, red needs help.
const COLOURS: Record<string, string> = {
  active: 'teal', online: 'teal', succeeded: 'teal', approved: 'teal', finished: 'teal', enabled: 'teal', intact: 'teal',
  running: 'blue', leased: 'blue', canary: 'blue', cancelling: 'blue',
  pending: 'yellow', waiting_approval: 'yellow', overdue: 'yellow', suspended: 'yellow', invited: 'yellow', parked: 'yellow',
  failed: 'red', timed_out: 'red', quarantined: 'red', rejected: 'red', stopped: 'red',
};

/** A state as a coloured word; the word carries the meaning, the colour only helps. */
export function StateBadge({ state, hint }: { state: string; hint?: string | undefined }) {
  const badge = (
    <Badge color={COLOURS[state] ?? 'gray'} className={classes.badge}>
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
