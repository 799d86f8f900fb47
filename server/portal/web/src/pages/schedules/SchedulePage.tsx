import { ActionIcon, Button, Grid, Menu, Stack, Tabs } from '@mantine/core';
import { IconDots, IconPencil, IconPlayerPause, IconPlayerPlay, IconTrash } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Schedule, Schema } from '../../api/types';
import { PROVIDER_ID, useCan } from '../../app/me';
import { useGo } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { duration } from '../../kit/format';
import { Link } from '../../kit/Link';
import { Facts, Page, Panel } from '../../kit/Page';
import { browserZone } from '../../kit/pickers';
import { describe } from '../../kit/recurrence';
import { NextRuns } from '../../kit/RecurrenceEditor';
import { plain } from '../../kit/safeText';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState, ErrorState, PageSkeleton } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TargetsText } from '../../kit/TargetsText';
import { TenantName } from '../../kit/TenantName';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { Payload } from '../jobs/JobPage';
import { MissedTable } from './MissedTable';

const crumbs = [{ label: t('schedules.title'), to: '/schedules' }];

export const scheduleQuery = (id: string) => ({
  queryKey: ['schedules', id],
  queryFn: ({ signal }: { signal: AbortSignal }) => ok(api.GET('/api/v1/schedules/{id}', { params: { path: { id } }, signal })),
});

export function Component() {
  const { id = '' } = useParams();
  const schedule = useQuery({ ...scheduleQuery(id), refetchInterval: 30_000 });
  if (schedule.isError) {
    return (
      <Page title={t('schedules.title')} crumbs={crumbs}>
        <ErrorState error={schedule.error} retry={() => void schedule.refetch()} />
      </Page>
    );
  }
  if (!schedule.data) {
    return (
      <Page title={t('schedules.title')} crumbs={crumbs}>
        <PageSkeleton />
      </Page>
    );
  }
  return <ScheduleView schedule={schedule.data} />;
}

function ScheduleView({ schedule }: { schedule: Schedule }) {
  const [url, setUrl] = useUrlState();
  return (
    <Page
      title={schedule.name}
      crumbs={crumbs}
      badge={<StateBadge state={schedule.enabled ? 'enabled' : 'disabled'} />}
      subtitle={
        <>
          {describe(schedule.recurrence)} · {t('schedules.nextRun')} <TimeAgo at={schedule.next_run_at} />
        </>
      }
      actions={<Acts schedule={schedule} />}
    >
      <Tabs value={url.tab ?? 'details'} onChange={(tab) => setUrl({ tab: tab === 'details' ? undefined : (tab ?? undefined), sort: undefined }, true)}>
        <Tabs.List mb="md">
          <Tabs.Tab value="details">{t('schedules.details')}</Tabs.Tab>
          <Tabs.Tab value="runs">{t('schedules.runs')}</Tabs.Tab>
          <Tabs.Tab value="missed">
            {t('schedules.missed')}
            {schedule.missed_count > 0 && ` (${schedule.missed_count})`}
          </Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="details">
          <Details schedule={schedule} />
        </Tabs.Panel>
        <Tabs.Panel value="runs">
          <Runs schedule={schedule} />
        </Tabs.Panel>
        <Tabs.Panel value="missed">
          <MissedTable query={{ schedule_id: schedule.id }} maxHeight="60dvh" />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Details({ schedule }: { schedule: Schedule }) {
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, md: 8 }}>
        <Stack gap="md">
          <Panel title={t('schedules.step1')}>
            <Facts items={[[t('jobs.kind'), label('taskKinds', schedule.what.kind)], schedule.what.task_expires_in_seconds ? [t('schedules.taskExpires'), duration(schedule.what.task_expires_in_seconds)] : null]} />
            <div style={{ marginTop: '0.75rem' }}>
              <Payload payload={schedule.what.payload} />
            </div>
          </Panel>
          <Panel title={t('schedules.step4')}>
            <Facts
              items={[
                [t('selector.label'), <TargetsText key="t" targets={schedule.targets} />],
                [t('schedules.owner'), schedule.tenant_id === PROVIDER_ID ? t('nav.provider') : <TenantName key="n" id={schedule.tenant_id} />],
                [t('schedules.zoneMode'), schedule.zone_mode === 'fixed' ? schedule.zone : label('zoneModes', schedule.zone_mode)],
                [t('schedules.window'), schedule.window ? `${describe(schedule.window.recurrence)} · ${duration(schedule.window.duration_seconds)}` : t('kit.no')],
                [t('schedules.catchUp'), label('catchUpPolicies', schedule.catch_up.policy)],
                schedule.catch_up.expires_after_seconds ? [t('schedules.catchUpExpires'), duration(schedule.catch_up.expires_after_seconds)] : null,
                [t('schedules.jitter'), schedule.jitter_seconds ? duration(schedule.jitter_seconds) : t('kit.no')],
                schedule.last_job_id ? [t('schedules.lastRun'), <Link key="j" to={`/jobs/${schedule.last_job_id}`}><TimeAgo at={schedule.last_run_at} /></Link>] : null,
                [t('fields.createdBy'), schedule.created_by],
              ]}
            />
          </Panel>
        </Stack>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 4 }}>
        <NextRuns recurrence={schedule.recurrence} zone={schedule.zone ?? browserZone()} window={schedule.window ?? undefined} count={10} />
      </Grid.Col>
    </Grid>
  );
}

const runColumns: Columns<Schema<'ScheduleRun'>> = [
  { id: 'nominal', header: t('schedules.nominal'), meta: { phone: true }, cell: ({ row }) => <span className="tnum">{row.original.nominal_local.replace('T', ' ')}</span> },
  { id: 'zone', header: t('fields.zone'), meta: { width: 180 }, cell: ({ row }) => row.original.zone },
  { id: 'fired', header: t('schedules.fired'), meta: { width: 150, phone: true }, cell: ({ row }) => <TimeAgo at={row.original.fired_at} /> },
  { id: 'state', header: t('fields.state'), meta: { width: 110 }, cell: ({ row }) => <StateBadge state={row.original.state} hint={row.original.reason || undefined} /> },
  { id: 'reason', header: t('schedules.missedReason'), meta: { width: 260 }, cell: ({ row }) => plain(row.original.reason) },
  { id: 'catchup', header: t('schedules.caughtUp'), meta: { width: 120 }, cell: ({ row }) => (row.original.catch_up ? t('kit.yes') : '–') },
  { id: 'devices', header: t('schedules.reach'), meta: { width: 100, align: 'right' }, cell: ({ row }) => row.original.devices },
  { id: 'job', header: t('jobs.one'), meta: { width: 90, phone: true }, cell: ({ row }) => (row.original.job_id ? <Link to={`/jobs/${row.original.job_id}`}>{t('jobs.open')}</Link> : '–') },
];

function Runs({ schedule }: { schedule: Schedule }) {
  return (
    <ServerTable<Schema<'ScheduleRun'>>
      id="runs"
      label={t('schedules.runs')}
      columns={runColumns}
      queryKey={['schedules', schedule.id, 'runs']}
      fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/schedules/{id}/runs', { params: { path: { id: schedule.id }, query: { limit, ...(cursor ? { cursor } : {}) } }, signal }))}
      rowId={(run) => run.id}
      refreshMs={15_000}
      maxHeight="60dvh"
      empty={<EmptyState title={t('schedules.runsNone')} />}
    />
  );
}

function Acts({ schedule }: { schedule: Schedule }) {
  const can = useCan();
  const go = useGo();
  const confirm = useConfirm();
  const client = useQueryClient();
  const { act, busy } = useAct('schedules', 'jobs');
  const deleting = useAct();
  const path = { params: { path: { id: schedule.id } } };
  if (!can('schedules.manage')) return null;

  async function run() {
    if (!(await confirm({ title: t('schedules.runNowTitle', { name: schedule.name }), body: t('schedules.runNowBody'), confirm: t('schedules.runNow') }))) return;
    const job = await act(() => ok(api.POST('/api/v1/schedules/{id}/run', path)));
    if (job) go(`/jobs/${job.id}`);
  }

  async function remove() {
    if (!(await confirm({ title: t('schedules.deleteTitle', { name: schedule.name }), body: t('schedules.deleteBody'), confirm: t('kit.delete'), danger: true }))) return;
    const done = await deleting.act(async () => {
      await ok(api.DELETE('/api/v1/schedules/{id}', path));
      return true;
    });
    if (!done) return;
    go('/schedules');
    // Only the list is read anew: the schedule itself is gone.
    await client.invalidateQueries({ queryKey: ['schedules', 'list'] });
  }

  return (
    <>
      <Button variant="default" leftSection={<IconPencil size={15} />} onClick={() => go(`/schedules/${schedule.id}/edit`)}>
        {t('kit.edit')}
      </Button>
      <Button leftSection={<IconPlayerPlay size={15} />} loading={busy} onClick={() => void run()}>
        {t('schedules.runNow')}
      </Button>
      <Menu>
        <Menu.Target>
          <ActionIcon variant="default" size={30} aria-label={t('kit.more')}>
            <IconDots size={16} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<IconPlayerPause size={15} />} onClick={() => void act(() => ok(api.PATCH('/api/v1/schedules/{id}', { ...path, body: { version: schedule.version, enabled: !schedule.enabled } })), t('kit.saved'))}>
            {schedule.enabled ? t('schedules.disable') : t('schedules.enable')}
          </Menu.Item>
          <Menu.Item leftSection={<IconTrash size={15} />} color="red" onClick={() => void remove()}>
            {t('kit.delete')}
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </>
  );
}
