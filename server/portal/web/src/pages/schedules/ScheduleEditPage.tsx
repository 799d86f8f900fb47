import { Button, Grid, Group, Select, Stack, Switch, TextInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Recurrence, Schedule, Schema, Targets } from '../../api/types';
import { PROVIDER_ID, useMe } from '../../app/me';
import { useGo, useTenantId } from '../../app/tenant';
import { DurationInput } from '../../kit/DurationInput';
import { notifyDone } from '../../kit/notify';
import { Page, Panel } from '../../kit/Page';
import { TenantSelect, ZoneSelect, browserZone } from '../../kit/pickers';
import { newRecurrence } from '../../kit/recurrence';
import { NextRuns, RecurrenceEditor } from '../../kit/RecurrenceEditor';
import { SelectorEditor, completeTargets } from '../../kit/SelectorEditor';
import { ErrorState, FormErrors, PageSkeleton, fieldErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { label, t } from '../../messages/t';
import { isComplete, newWork, payloadOf, type Work } from '../jobs/work';
import { WorkEditor, scriptQuery } from '../jobs/WorkEditor';
import { scheduleQuery } from './SchedulePage';

type Values = {
  tenant_id: string;
  name: string;
  work: Work;
  targets: Targets;
  recurrence: Recurrence;
  zone_mode: Schema<'ZoneMode'>;
  zone: string;
  windowed: boolean;
  window: Schema<'Window'>;
  catch_up: Schema<'CatchUp'>;
  jitter_seconds: number;
  task_expires: number | undefined;
  reason: string;
};

/** Makes or changes a schedule; what it would do is shown beside the form all the time. */
export function Component() {
  const { id } = useParams();
  const schedule = useQuery({ ...scheduleQuery(id ?? ''), enabled: Boolean(id) });
  if (schedule.isError) return <ErrorState error={schedule.error} retry={() => void schedule.refetch()} />;
  if (id && !schedule.data) {
    return (
      <Page title={t('schedules.editTitle')}>
        <PageSkeleton />
      </Page>
    );
  }
  return <Editor key={id ?? 'new'} schedule={schedule.data} />;
}

function Editor({ schedule }: { schedule: Schedule | undefined }) {
  const me = useMe();
  const chosen = useTenantId();
  const go = useGo();
  const client = useQueryClient();
  const form = useForm<Values>({ initialValues: initialOf(schedule, chosen ?? me.tenant_id) });
  const { busy, error, submit } = useSubmit(form);
  const values = form.values;
  const script = useQuery(scriptQuery(values.work.payload.script_id));
  const targets = completeTargets(values.targets);
  const ready = values.name.trim() !== '' && targets !== undefined && isComplete(values.work, script.data);
  const errors = error ? fieldErrors(error) : {};
  const ofTenant = values.tenant_id === PROVIDER_ID ? undefined : values.tenant_id;
  const zone = values.zone_mode === 'fixed' ? values.zone : browserZone();

  const save = form.onSubmit(() => {
    if (!targets) return;
    void submit(async () => {
      const saved = schedule
        ? await ok(api.PATCH('/api/v1/schedules/{id}', { params: { path: { id: schedule.id } }, body: { version: schedule.version, ...common(values, targets), zone: values.zone_mode === 'fixed' ? values.zone : null, ...(values.windowed ? { window: values.window } : { drop_window: true }) } }))
        : await ok(
            api.POST('/api/v1/schedules', {
              body: {
                tenant_id: values.tenant_id,
                ...common(values, targets),
                ...(values.zone_mode === 'fixed' ? { zone: values.zone } : {}),
                ...(values.windowed ? { window: values.window } : {}),
                ...(values.reason.trim() ? { reason: values.reason.trim() } : {}),
              },
            }),
          );
      await client.invalidateQueries({ queryKey: ['schedules'] });
      notifyDone(t('kit.saved'));
      go(`/schedules/${saved.id}`);
    });
  });

  return (
    <Page title={schedule ? schedule.name : t('schedules.create')} crumbs={[{ label: t('schedules.title'), to: '/schedules' }, ...(schedule ? [{ label: schedule.name, to: `/schedules/${schedule.id}` }] : [])]}>
      <form onSubmit={save}>
        <Grid gap="md">
          <Grid.Col span={{ base: 12, md: 8 }}>
            <Stack gap="md">
              <Panel>
                <Group align="flex-start" grow preventGrowOverflow={false}>
                  <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} />
                  {!schedule && me.is_staff && <TenantSelect label={t('schedules.owner')} description={t('schedules.ownerHint')} withProvider required value={values.tenant_id} onChange={(id) => form.setValues({ tenant_id: id ?? me.tenant_id, targets: { device_ids: [] } })} error={form.errors.tenant_id} />}
                </Group>
              </Panel>
              <Panel title={t('schedules.step1')}>
                <WorkEditor value={values.work} onChange={(work) => form.setFieldValue('work', work)} errors={prefixed(errors, 'what.')} />
              </Panel>
              <Panel title={t('schedules.step2')}>
                <SelectorEditor key={ofTenant ?? 'provider'} tenantId={ofTenant} value={values.targets} onChange={(next) => form.setFieldValue('targets', next)} error={errors.targets} />
              </Panel>
              <Panel title={t('schedules.step3')}>
                <Stack gap="md">
                  <RecurrenceEditor value={values.recurrence} onChange={(next) => form.setFieldValue('recurrence', next)} error={errors.recurrence} />
                  <Group align="flex-end">
                    <Select label={t('schedules.zoneMode')} allowDeselect={false} w={220} data={(['device', 'site', 'tenant', 'fixed'] as const).map((each) => ({ value: each, label: label('zoneModes', each) }))} {...form.getInputProps('zone_mode')} />
                    {values.zone_mode === 'fixed' && <ZoneSelect required value={values.zone} onChange={(next) => next && form.setFieldValue('zone', next)} error={form.errors.zone} />}
                  </Group>
                  <Switch label={t('schedules.window')} {...form.getInputProps('windowed', { type: 'checkbox' })} />
                  {values.windowed && (
                    <Stack gap="md" pl="md">
                      <RecurrenceEditor label={t('schedules.windowOpens')} value={values.window.recurrence} onChange={(recurrence) => form.setFieldValue('window', { ...values.window, recurrence })} error={errors['window.recurrence']} />
                      <DurationInput label={t('schedules.windowLength')} required min={300} max={604_800} value={values.window.duration_seconds} onChange={(seconds) => form.setFieldValue('window', { ...values.window, duration_seconds: seconds ?? 3_600 })} error={errors['window.duration_seconds']} />
                      <Switch label={t('schedules.allowOverrun')} checked={values.window.allow_overrun ?? false} onChange={(event) => form.setFieldValue('window', { ...values.window, allow_overrun: event.currentTarget.checked })} />
                    </Stack>
                  )}
                </Stack>
              </Panel>
              <Panel title={t('schedules.step4')}>
                <Group align="flex-start" gap="lg">
                  <Select label={t('schedules.catchUp')} allowDeselect={false} w={240} data={(['skip', 'run_asap', 'run_in_next_window'] as const).map((each) => ({ value: each, label: label('catchUpPolicies', each) }))} value={values.catch_up.policy} onChange={(policy) => policy && form.setFieldValue('catch_up', { ...values.catch_up, policy: policy as Schema<'CatchUp'>['policy'] })} />
                  {values.catch_up.policy !== 'skip' && <DurationInput label={t('schedules.catchUpExpires')} min={60} max={7_776_000} value={values.catch_up.expires_after_seconds} onChange={(seconds) => form.setFieldValue('catch_up', { policy: values.catch_up.policy, ...(seconds ? { expires_after_seconds: seconds } : {}) })} error={errors['catch_up.expires_after_seconds']} />}
                  <DurationInput label={t('schedules.jitter')} max={86_400} value={values.jitter_seconds} onChange={(seconds) => form.setFieldValue('jitter_seconds', seconds ?? 0)} error={errors.jitter_seconds} />
                  <DurationInput label={t('schedules.taskExpires')} min={60} max={7_776_000} value={values.task_expires} onChange={(seconds) => form.setFieldValue('task_expires', seconds)} error={errors['what.task_expires_in_seconds']} />
                </Group>
                {!schedule && <Textarea mt="md" label={t('kit.reasonOptional')} description={t('schedules.reasonHint')} maxLength={1000} autosize minRows={2} {...form.getInputProps('reason')} />}
              </Panel>
              <FormErrors error={error} />
              <Group>
                <Button type="submit" loading={busy} disabled={!ready}>
                  {t('kit.save')}
                </Button>
                <Button variant="default" onClick={() => go(schedule ? `/schedules/${schedule.id}` : '/schedules')}>
                  {t('kit.cancel')}
                </Button>
              </Group>
            </Stack>
          </Grid.Col>
          <Grid.Col span={{ base: 12, md: 4 }}>
            <div style={{ position: 'sticky', top: 'calc(var(--reeve-header) + 1rem)' }}>
              <NextRuns recurrence={values.recurrence} zone={zone} window={values.windowed ? values.window : undefined} count={10} />
            </div>
          </Grid.Col>
        </Grid>
      </form>
    </Page>
  );
}

function common(values: Values, targets: Targets) {
  return {
    name: values.name.trim(),
    what: { kind: values.work.kind, payload: payloadOf(values.work), ...(values.task_expires ? { task_expires_in_seconds: values.task_expires } : {}) },
    targets,
    recurrence: values.recurrence,
    zone_mode: values.zone_mode,
    catch_up: values.catch_up,
    jitter_seconds: values.jitter_seconds,
  };
}

const prefixed = (errors: Record<string, string>, prefix: string) =>
  Object.fromEntries(Object.entries(errors).map(([key, value]) => [key.startsWith(prefix) ? key.slice(prefix.length) : key, value]));

function initialOf(schedule: Schedule | undefined, owner: string): Values {
  const window = { recurrence: newRecurrence('cron'), duration_seconds: 4 * 3_600 };
  if (!schedule) {
    return {
      tenant_id: owner, name: '', work: newWork('library'), targets: owner === PROVIDER_ID ? { device_ids: [] } : { tenant_id: owner }, recurrence: newRecurrence('cron'), zone_mode: 'device', zone: browserZone(),
      windowed: false, window, catch_up: { policy: 'run_asap', expires_after_seconds: 86_400 }, jitter_seconds: 0, task_expires: undefined, reason: '',
    };
  }
  return {
    tenant_id: schedule.tenant_id, name: schedule.name, work: { kind: schedule.what.kind, payload: schedule.what.payload }, targets: schedule.targets, recurrence: schedule.recurrence, zone_mode: schedule.zone_mode, zone: schedule.zone ?? browserZone(),
    windowed: Boolean(schedule.window), window: schedule.window ?? window, catch_up: schedule.catch_up, jitter_seconds: schedule.jitter_seconds, task_expires: schedule.what.task_expires_in_seconds, reason: '',
  };
}
