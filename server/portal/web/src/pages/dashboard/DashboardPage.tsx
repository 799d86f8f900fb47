import { Button, Grid, Group, Progress, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconCalendarTime, IconChecklist, IconDevices2, IconListDetails, IconPlugConnected, IconPlus, IconShieldX, IconUser, type Icon } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link as RouterLink } from 'react-router';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useCan, useMe } from '../../app/me';
import { useGo, useKeepTenant, useTenantId } from '../../app/tenant';
import { number } from '../../kit/format';
import { Link } from '../../kit/Link';
import { Page, Panel } from '../../kit/Page';
import { EmptyState, ErrorState, PageSkeleton } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { plain } from '../../kit/safeText';
import { TimeAgo } from '../../kit/TimeAgo';
import { label, t } from '../../messages/t';
import classes from './Dashboard.module.css';

type Dashboard = Schema<'Dashboard'>;

export function Component() {
  const tenant = useTenantId();
  const go = useGo();
  const can = useCan();
  const me = useMe();
  const dashboard = useQuery({
    queryKey: ['dashboard', tenant ?? null],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/dashboard', { params: { query: tenant ? { tenant_id: tenant } : {} }, signal })),
    enabled: can('devices.read'),
    refetchInterval: 15_000,
  });
  if (!can('devices.read')) {
    return (
      <Page title={t('dashboard.title')}>
        <EmptyState icon={IconUser} title={t('welcome.title', { name: me.name })} action={<Link to="/profile">{t('nav.profile')}</Link>}>
          {t('welcome.hint')}
        </EmptyState>
      </Page>
    );
  }
  if (dashboard.isError) {
    return (
      <Page title={t('dashboard.title')}>
        <ErrorState error={dashboard.error} retry={() => void dashboard.refetch()} />
      </Page>
    );
  }
  if (!dashboard.data) {
    return (
      <Page title={t('dashboard.title')}>
        <PageSkeleton />
      </Page>
    );
  }
  const data = dashboard.data;
  if ((data.devices.total ?? 0) === 0 && data.devices_pending === 0) {
    return (
      <Page title={t('dashboard.title')}>
        <EmptyState
          icon={IconPlugConnected}
          title={t(can('devices.enrol') ? 'dashboard.getStarted' : 'devices.none')}
          action={
            can('devices.enrol') && (
              <Button size="sm" leftSection={<IconPlus size={16} />} onClick={() => go('/enrolment')}>
                {t('devices.add')}
              </Button>
            )
          }
        >
          {can('devices.enrol') && t('dashboard.getStartedHint')}
        </EmptyState>
      </Page>
    );
  }
  return (
    <Page title={t('dashboard.title')}>
      <Attention data={data} />
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 7 }}>
          <Fleet data={data} />
        </Grid.Col>
        {can('jobs.read') && (
          <Grid.Col span={{ base: 12, md: 5 }}>
            <Tasks data={data} />
          </Grid.Col>
        )}
        {can('audit.read') && (
          <Grid.Col span={{ base: 12, md: 7 }}>
            <Recent data={data} />
          </Grid.Col>
        )}
        {can('schedules.read') && (
          <Grid.Col span={{ base: 12, md: 5 }}>
            <NextRunsPanel data={data} />
          </Grid.Col>
        )}
      </Grid>
    </Page>
  );
}

/** What waits for somebody comes first; what merely is, after it. */
function Attention({ data }: { data: Dashboard }) {
  const can = useCan();
  const quarantined = data.devices.quarantined ?? 0;
  const tiles: [boolean, Icon, number, Parameters<typeof t>[0], string, 'waits' | 'bad' | 'quiet'][] = [
    [data.approvals_pending > 0 && can('approvals.read'), IconChecklist, data.approvals_pending, 'dashboard.approvals', '/approvals', 'waits'],
    [data.devices_pending > 0, IconPlugConnected, data.devices_pending, 'dashboard.pendingDevices', can('devices.enrol') ? '/enrolment?tab=waiting' : '/devices?state=pending', 'waits'],
    [quarantined > 0, IconShieldX, quarantined, 'dashboard.quarantined', '/devices?state=quarantined', 'bad'],
    [can('jobs.read'), IconListDetails, data.jobs_running, 'dashboard.jobsRunning', '/jobs?state=running', 'quiet'],
    [can('schedules.read'), IconCalendarTime, data.schedules_enabled, 'dashboard.schedules', '/schedules', 'quiet'],
  ];
  const keep = useKeepTenant();
  return (
    <SimpleGrid cols={{ base: 2, sm: 3, lg: 5 }} spacing="sm">
      {tiles
        .filter(([shown]) => shown)
        .map(([, Symbol, n, message, to, tone]) => (
          <RouterLink key={to} to={keep(to)} className={classes.tile} data-tone={tone}>
            <Symbol size={20} stroke={1.5} aria-hidden />
            <div>
              <div className={classes.figure}>{number(n)}</div>
              <Text size="xs" c="dimmed">
                {t(message, { n })}
              </Text>
            </div>
          </RouterLink>
        ))}
    </SimpleGrid>
  );
}

const PRESENCES: [string, string][] = [
  ['online', 'teal.6'],
  ['overdue', 'yellow.6'],
  ['offline', 'gray.5'],
  ['never', 'gray.3'],
];

function Fleet({ data }: { data: Dashboard }) {
  const total = data.devices.total ?? 0;
  const systems = Object.entries(data.os).sort(([, a], [, b]) => b - a);
  const most = Math.max(1, ...systems.map(([, n]) => n));
  return (
    <Panel title={t('dashboard.fleet')} actions={<Link to="/devices">{t('dashboard.devices')}</Link>}>
      <Group gap="xs" align="baseline" mb="sm">
        <IconDevices2 size={18} stroke={1.5} aria-hidden />
        <span className={classes.figure}>{number(total)}</span>
        <Text size="sm" c="dimmed">
          {t('nav.deviceCount', { n: total }).replace(/^[\d\s.,]+/, '')}
        </Text>
      </Group>
      <Progress.Root size={12} aria-hidden>
        {PRESENCES.map(([state, colour]) => {
          const n = data.devices[state] ?? 0;
          return n > 0 ? <Progress.Section key={state} value={(n / Math.max(1, total)) * 100} color={colour} /> : null;
        })}
      </Progress.Root>
      <Group gap="lg" mt="sm" mb="lg">
        {PRESENCES.map(([state, colour]) => (
          <Link key={state} to={`/devices?presence=${state}`} c="inherit">
            <Group gap={6}>
              <span className={classes.key} style={{ background: `var(--mantine-color-${colour.replace('.', '-')})` }} />
              <Text size="sm">{label('states', state)}</Text>
              <Text size="sm" fw={600} className="tnum">
                {number(data.devices[state] ?? 0)}
              </Text>
            </Group>
          </Link>
        ))}
      </Group>
      <Text size="xs" fw={600} mb={6}>
        {t('dashboard.operatingSystems')}
      </Text>
      <Stack gap={7}>
        {systems.map(([family, n]) => (
          <Group key={family} gap="sm" wrap="nowrap">
            <Link to={`/devices?os_family=${family}`} c="inherit" w={80} fz="sm">
              {label('os', family)}
            </Link>
            <Progress value={(n / most) * 100} flex={1} size={6} color="ink.5" aria-label={label('os', family)} />
            <Text size="sm" className="tnum" w={60} ta="right">
              {number(n)}
            </Text>
          </Group>
        ))}
      </Stack>
    </Panel>
  );
}

const TASK_STATES = ['succeeded', 'failed', 'timed_out', 'expired', 'skipped', 'cancelled', 'running', 'leased', 'queued', 'parked'];

function Tasks({ data }: { data: Dashboard }) {
  const shown = TASK_STATES.filter((state) => (data.tasks_24h[state] ?? 0) > 0);
  const total = shown.reduce((sum, state) => sum + (data.tasks_24h[state] ?? 0), 0);
  return (
    <Panel title={t('dashboard.tasks')} actions={<Link to="/jobs">{t('nav.jobs')}</Link>}>
      {total === 0 ? (
        <Text size="sm" c="dimmed">
          {t('dashboard.noTasks')}
        </Text>
      ) : (
        <Stack gap={8}>
          {shown.map((state) => {
            const n = data.tasks_24h[state] ?? 0;
            return (
              <Group key={state} gap="sm" wrap="nowrap">
                <div style={{ width: 110 }}>
                  <StateBadge state={state} />
                </div>
                <Progress value={(n / total) * 100} flex={1} size={6} color={state === 'succeeded' ? 'teal.6' : ['failed', 'timed_out'].includes(state) ? 'red.6' : 'gray.5'} aria-label={label('states', state)} />
                <Text size="sm" className="tnum" w={60} ta="right">
                  {number(n)}
                </Text>
              </Group>
            );
          })}
        </Stack>
      )}
    </Panel>
  );
}

function NextRunsPanel({ data }: { data: Dashboard }) {
  return (
    <Panel title={t('dashboard.nextRuns')} actions={<Link to="/schedules">{t('nav.schedules')}</Link>}>
      {data.next_runs.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t('dashboard.noNextRuns')}
        </Text>
      ) : (
        <Stack gap={8}>
          {data.next_runs.map((run) => (
            <Group key={`${run.schedule_id}${run.at}`} justify="space-between" wrap="nowrap">
              <Text size="sm" className="truncate">
                <Link to={`/schedules/${run.schedule_id}`}>{run.name}</Link>{' '}
                <Text span c="dimmed" inherit>
                  {run.tenant_name}
                </Text>
              </Text>
              <Text size="sm" c="dimmed" style={{ flex: 'none' }}>
                <TimeAgo at={run.at} />
              </Text>
            </Group>
          ))}
        </Stack>
      )}
    </Panel>
  );
}

function Recent({ data }: { data: Dashboard }) {
  return (
    <Panel title={t('dashboard.recent')} actions={<Link to="/audit">{t('nav.audit')}</Link>}>
      {data.recent.length === 0 ? (
        <Text size="sm" c="dimmed">
          {t('dashboard.noRecent')}
        </Text>
      ) : (
        <Stack gap={8}>
          {data.recent.map((entry) => (
            <Group key={`${entry.tenant_id}${entry.number}`} justify="space-between" wrap="nowrap" gap="sm">
              <Text size="sm" className="truncate">
                <Text span fw={550} inherit>
                  {label('auditActions', entry.action)}
                </Text>{' '}
                {entry.object_name !== entry.actor_name && plain(entry.object_name)}{' '}
                <Text span c="dimmed" inherit>
                  {plain(entry.actor_name)}
                </Text>
              </Text>
              <Text size="sm" c="dimmed" style={{ flex: 'none' }}>
                <TimeAgo at={entry.at} />
              </Text>
            </Group>
          ))}
        </Stack>
      )}
    </Panel>
  );
}
