import { expect, test } from 'vitest';
import { RecurrenceKinds, describe as say, kindOf, newRecurrence } from './recurrence';

test.each(RecurrenceKinds)('%s begins as itself and can be said', (kind) => {
  const made = newRecurrence(kind, new Date('2026-02-28T12:00:00'));
  expect(kindOf(made)).toBe(kind);
  expect(say(made)).not.toContain('{');
});
