import { Group, Input, List, Loader, NumberInput, Select, Stack, Text, TextInput } from '@mantine/core';
import { DateTimePicker } from '@mantine/dates';
import { useDebouncedValue } from '@mantine/hooks';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { api, ok } from '../api/client';
import { toProblem } from '../api/problem';
import type { Recurrence, Schema } from '../api/types';
import { label as labelOf, t } from '../messages/t';
import { RecurrenceKinds, kindOf, newRecurrence, type RecurrenceKind } from './recurrence';
import { exactTime, relativeTime } from './format';
import { useNow } from './clock';
import classes from './RecurrenceEditor.module.css';

type Props = { value: Recurrence; onChange: (next: Recurrence) => void; label?: ReactNode; error?: ReactNode };

/** Says when something recurs: cron, every so often, the nth weekday, the last day, Patch Tuesday, or once. */
export function RecurrenceEditor({ value, onChange, label = t('recurrence.label'), error }: Props) {
  const kind = kindOf(value);
  return (
    <Input.Wrapper label={label} error={error} size="sm" labelElement="div">
      <Stack gap="sm" mt={4}>
        <Select
          aria-label={t('recurrence.kind')}
          value={kind}
          allowDeselect={false}
          onChange={(next) => next && onChange(newRecurrence(next as RecurrenceKind))}
          data={RecurrenceKinds.map((each) => ({ value: each, label: labelOf('recurrenceKinds', each) }))}
          maw={320}
        />
        <Fields value={value} onChange={onChange} />
      </Stack>
    </Input.Wrapper>
  );
}

function Fields({ value, onChange }: { value: Recurrence; onChange: (next: Recurrence) => void }) {
  if (value.every) {
    const every = value.every;
    return (
      <Group align="flex-end" gap="sm">
        <NumberInput label={t('recurrence.every')} min={1} max={1000} allowDecimal={false} w={90} value={every.n} onChange={(n) => onChange({ every: { ...every, n: Number(n) || 1 } })} />
        <Select aria-label={t('recurrence.unit')} w={130} allowDeselect={false} value={every.unit} onChange={(unit) => unit && onChange({ every: { ...every, unit: unit as typeof every.unit } })} data={['minutes', 'hours', 'days', 'weeks', 'months'].map((each) => ({ value: each, label: labelOf('units', each) }))} />
        <LocalTime label={t('recurrence.anchor')} value={every.anchor} onChange={(anchor) => onChange({ every: { ...every, anchor } })} />
      </Group>
    );
  }
  if (value.weekday_of_month) {
    const on = value.weekday_of_month;
    return (
      <Group align="flex-end" gap="sm">
        <Select label={t('recurrence.which')} w={120} allowDeselect={false} value={String(on.n)} onChange={(n) => onChange({ weekday_of_month: { ...on, n: Number(n) } })} data={['1', '2', '3', '4', '5', '-1'].map((each) => ({ value: each, label: labelOf('ordinals', each === '-1' ? 'last' : `n${each}`) }))} />
        <Select label={t('recurrence.weekday')} w={150} allowDeselect={false} value={on.weekday} onChange={(weekday) => weekday && onChange({ weekday_of_month: { ...on, weekday: weekday as typeof on.weekday } })} data={['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'].map((each) => ({ value: each, label: labelOf('weekdays', each) }))} />
        <TimeOfDay value={on.time} onChange={(time) => onChange({ weekday_of_month: { ...on, time } })} />
      </Group>
    );
  }
  if (value.last_day_of_month) return <TimeOfDay value={value.last_day_of_month.time} onChange={(time) => onChange({ last_day_of_month: { time } })} />;
  if (value.patch_tuesday) {
    const on = value.patch_tuesday;
    return (
      <Group align="flex-end" gap="sm">
        <NumberInput label={t('recurrence.plusDays')} description={t('recurrence.plusDaysHint')} min={0} max={14} allowDecimal={false} w={230} value={on.plus_days} onChange={(n) => onChange({ patch_tuesday: { ...on, plus_days: Number(n) || 0 } })} />
        <TimeOfDay value={on.time} onChange={(time) => onChange({ patch_tuesday: { ...on, time } })} />
      </Group>
    );
  }
  if (value.once !== undefined) return <LocalTime label={t('recurrence.at')} value={value.once} onChange={(once) => onChange({ once })} />;
  return <TextInput label={t('recurrence.cron')} description={t('recurrence.cronHint')} value={value.cron ?? ''} onChange={(event) => onChange({ cron: event.currentTarget.value })} classNames={{ input: 'mono' }} maw={320} spellCheck={false} />;
}

function TimeOfDay({ value, onChange }: { value: string; onChange: (time: string) => void }) {
  return <TextInput type="time" label={t('recurrence.time')} w={120} value={value} onChange={(event) => event.currentTarget.value && onChange(event.currentTarget.value.slice(0, 5))} />;
}

/** A local date and time, as the contract writes it: 2025-06-10T02:00. */
export function LocalTime({ label, value, onChange, error }: { label: string; value: string | undefined; onChange: (local: string) => void; error?: ReactNode }) {
  return <DateTimePicker label={label} error={error} value={value ? value.replace('T', ' ') : null} onChange={(next) => next && onChange(next.replace(' ', 'T').slice(0, 16))} valueFormat="YYYY-MM-DD HH:mm" w={190} popoverProps={{ withinPortal: true }} />;
}

/** When the server would run it: the same calculation that will start the work. */
export function NextRuns({ recurrence, zone, window, count = 6 }: { recurrence: Recurrence; zone: string; window?: Schema<'Window'> | undefined; count?: number }) {
  const now = useNow();
  const [asked] = useDebouncedValue(JSON.stringify({ recurrence, zone, ...(window ? { window } : {}), count }), 350);
  const preview = useQuery({
    queryKey: ['preview', asked],
    queryFn: ({ signal }) => ok(api.POST('/api/v1/schedules/preview', { body: JSON.parse(asked) as Schema<'SchedulePreviewRequest'>, signal })),
    placeholderData: keepPreviousData,
    retry: false,
    staleTime: 60_000,
  });

  return (
    <section className={classes.preview} aria-label={t('recurrence.nextRuns')} aria-live="polite">
      <Group justify="space-between" mb={6}>
        <Text size="xs" fw={600}>
          {t('recurrence.nextRuns')}
        </Text>
        {preview.isFetching ? (
          <Loader size={12} />
        ) : (
          <Text size="xs" c="dimmed">
            {zone}
          </Text>
        )}
      </Group>
      {preview.isError ? (
        <Text size="sm" c="red">
          {explain(preview.error)}
        </Text>
      ) : (
        <ol className={classes.runs} data-stale={preview.isPlaceholderData || undefined}>
          {preview.data?.runs.map((run) => (
            <li key={run.at + run.fold}>
              <span className="tnum">{run.nominal_local.replace('T', ' ')}</span>
              <span className={classes.when} title={exactTime(run.at)}>
                {relativeTime(run.at, now)}
                {run.fold === 1 && ` · ${t('recurrence.fold')}`}
                {run.in_window === false && ` · ${t('recurrence.outside')}`}
              </span>
            </li>
          ))}
          {preview.data?.runs.length === 0 && <li>{t('recurrence.never')}</li>}
        </ol>
      )}
      {(preview.data?.notes.length ?? 0) > 0 && !preview.isError && (
        <List size="xs" c="dimmed" mt={6}>
          {preview.data?.notes.map((note) => (
            <List.Item key={note}>{note}</List.Item>
          ))}
        </List>
      )}
    </section>
  );
}

function explain(error: unknown): string {
  const problem = toProblem(error);
  return problem.errors?.map((each) => each.detail).join(' ') || problem.detail || problem.title;
}
