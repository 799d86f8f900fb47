import type { Recurrence } from '../api/types';
import { label, t } from '../messages/t';

export const RecurrenceKinds = ['cron', 'every', 'weekday_of_month', 'last_day_of_month', 'patch_tuesday', 'once'] as const;
export type RecurrenceKind = (typeof RecurrenceKinds)[number];

export function kindOf(value: Recurrence): RecurrenceKind {
  return RecurrenceKinds.find((kind) => value[kind] !== undefined) ?? 'cron';
}

/** A sensible beginning of each kind. */
export function newRecurrence(kind: RecurrenceKind, now = new Date()): Recurrence {
  const tomorrow = localDate(new Date(now.getTime() + 86_400_000));
  switch (kind) {
    case 'cron':
      return { cron: '0 2 * * *' };
    case 'every':
      return { every: { n: 1, unit: 'days', anchor: `${tomorrow}T02:00` } };
    case 'weekday_of_month':
      return { weekday_of_month: { n: 1, weekday: 'sat', time: '02:00' } };
    case 'last_day_of_month':
      return { last_day_of_month: { time: '22:00' } };
    case 'patch_tuesday':
      return { patch_tuesday: { plus_days: 3, time: '02:00' } };
    case 'once':
      return { once: `${tomorrow}T02:00` };
  }
}

function localDate(date: Date): string {
  const two = (n: number) => String(n).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** A recurrence in words, for lists. */
export function describe(value: Recurrence): string {
  if (value.every) return t('recurrence.saysEvery', { n: value.every.n, unit: label('units', value.every.unit).toLowerCase() });
  if (value.weekday_of_month) {
    const { n, weekday, time } = value.weekday_of_month;
    return t('recurrence.saysWeekday', { which: label('ordinals', n === -1 ? 'last' : `n${n}`), weekday: label('weekdays', weekday), time });
  }
  if (value.last_day_of_month) return t('recurrence.saysLastDay', { time: value.last_day_of_month.time });
  if (value.patch_tuesday) {
    const { plus_days: days, time } = value.patch_tuesday;
    return days === 0 ? t('recurrence.saysPatchTuesday', { time }) : t('recurrence.saysPatchTuesdayPlus', { n: days, time });
  }
  if (value.once) return t('recurrence.saysOnce', { at: value.once.replace('T', ' ') });
  return t('recurrence.saysCron', { cron: value.cron ?? '' });
}
