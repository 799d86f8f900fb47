import { Button, Switch, Tabs } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useMemo } from 'react';
import { api, ok } from '../../api/client';
import type { Schedule } from '../../api/types';
import { useCan } from '../../app/me';
import { useGo, useTenantId } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Link } from '../../kit/Link';
import { Page } from '../../kit/Page';
import { describe } from '../../kit/recurrence';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TargetsText } from '../../kit/TargetsText';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { BlackoutsTab } from './BlackoutsTab';
import { MissedTable } from './MissedTable';

const columns = (canManage: boolean): Columns<Schedule> => [
  {
    id: 'name',
    header: t('fields.name'),
    meta: { phone: true },
    cell: ({ row: { original: schedule } }) => (
      <Link to={`/schedules/${schedule.id}`} fw={550} c="inherit">
        {schedule.name}
      </Link>
    ),
  },
  { id: 'enabled', header: t('schedules.enabled'), meta: { width: 90, phone: true }, cell: ({ row }) => (canManage ? <EnabledSwitch schedule={row.original} /> : <StateBadge state={row.original.enabled ? 'enabled' : 'disabled'} />) },
  { id: 'when', header: t('recurrence.label'), meta: { width: 215 }, cell: ({ row }) => describe(row.original.recurrence) },
  { id: 'what', header: t('schedules.step1'), meta: { width: 95, optional: true }, cell: ({ row }) => label('taskKinds', row.original.what.kind) },
  { id: 'where', header: t('schedules.step2'), meta: { width: 200 }, cell: ({ row }) => <TargetsText targets={row.original.targets} /> },
  { id: 'next', header: t('schedules.nextRun'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.next_run_at} /> },
  { id: 'last', header: t('schedules.lastRun'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.last_run_at} /> },
  { id: 'missed', header: t('schedules.missed'), meta: { width: 105, align: 'right' }, cell: ({ row }) => row.original.missed_count || '–' },
];

function EnabledSwitch({ schedule }: { schedule: Schedule }) {
  const { act, busy } = useAct('schedules');
  return (
    <Switch
      size="xs"
      aria-label={schedule.enabled ? t('schedules.disable') : t('schedules.enable')}
      checked={schedule.enabled}
      disabled={busy}
      onChange={(event) => {
        const enabled = event.currentTarget.checked;
        void act(() => ok(api.PATCH('/api/v1/schedules/{id}', { params: { path: { id: schedule.id } }, body: { version: schedule.version, enabled } })));
      }}
    />
  );
}

export function Component() {
  const [url, setUrl] = useUrlState();
  const tenant = useTenantId();
  const can = useCan();
  const go = useGo();
  const tab = url.tab ?? 'schedules';
  const list = useMemo(() => columns(can('schedules.manage')), [can]);
  const query = {
    ...(tenant ? { tenant_id: tenant } : {}),
    ...(url.q ? { q: url.q } : {}),
    ...(url.enabled ? { enabled: url.enabled === 'true' } : {}),
  };
  const create = can('schedules.manage') && (
    <Button leftSection={<IconPlus size={15} />} onClick={() => go('/schedules/new')}>
      {t('schedules.create')}
    </Button>
  );

  return (
    <Page fill title={t('schedules.title')} actions={tab === 'schedules' && create}>
      <Tabs value={tab} onChange={(next) => setUrl({ tab: next === 'schedules' ? undefined : (next ?? undefined), q: undefined, enabled: undefined, sort: undefined }, true)}>
        <Tabs.List>
          <Tabs.Tab value="schedules">{t('schedules.title')}</Tabs.Tab>
          <Tabs.Tab value="missed">{t('schedules.missed')}</Tabs.Tab>
          <Tabs.Tab value="blackouts">{t('schedules.blackouts')}</Tabs.Tab>
        </Tabs.List>
      </Tabs>
      {tab === 'schedules' && (
        <ServerTable<Schedule>
          id="schedules"
          label={t('schedules.title')}
          columns={list}
          queryKey={['schedules', 'list', query]}
          fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/schedules', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
          rowId={(schedule) => schedule.id}
          rowLink={(schedule) => `/schedules/${schedule.id}`}
          refreshMs={30_000}
          filters={
            <FilterBar
              search="q"
              searchLabel={t('schedules.search')}
              fields={[
                {
                  key: 'enabled',
                  label: t('fields.state'),
                  options: [
                    { value: 'true', label: t('states.enabled') },
                    { value: 'false', label: t('states.disabled') },
                  ],
                },
              ]}
            />
          }
          empty={
            <EmptyState title={t('schedules.none')} action={create}>
              {t('schedules.noneHint')}
            </EmptyState>
          }
        />
      )}
      {tab === 'missed' && <MissedTable query={tenant ? { tenant_id: tenant } : {}} />}
      {tab === 'blackouts' && <BlackoutsTab />}
    </Page>
  );
}
