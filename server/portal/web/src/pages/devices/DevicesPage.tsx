import { Button, Group } from '@mantine/core';
import { IconPlayerPlay, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { api, ok } from '../../api/client';
import type { Device, Targets } from '../../api/types';
import { useCan } from '../../app/me';
import { useGo, useTenantId } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Page } from '../../kit/Page';
import { ServerTable } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { parseFilter } from '../../kit/filterModel';
import { SiteSelect, tagsQuery } from '../../kit/pickers';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { RunDialog } from '../jobs/RunDialog';
import { BulkTagsDialog } from './BulkTagsDialog';
import { deviceColumns } from './columns';
import { FilterDrawer } from './FilterDrawer';
import { deviceQuery } from './query';

const PRESENCES = ['online', 'overdue', 'offline', 'never'];
const STATES = ['active', 'pending', 'quarantined', 'retired'];
const OPERATING_SYSTEMS = ['linux', 'windows', 'darwin', 'other'];

export function Component() {
  const [url, setUrl] = useUrlState();
  const tenant = useTenantId();
  const can = useCan();
  const go = useGo();
  const [running, setRunning] = useState<Targets | null>(null);
  const [tagging, setTagging] = useState<string[] | null>(null);
  const tags = useQuery(tagsQuery(tenant));
  const query = deviceQuery(url, tenant);
  const columns = useMemo(() => deviceColumns(!tenant), [tenant]);

  return (
    <Page
      fill
      title={t('devices.title')}
      actions={
        <>
          {can('devices.enrol') && (
            <Button variant="default" leftSection={<IconPlus size={15} />} onClick={() => go('/enrolment')}>
              {t('devices.add')}
            </Button>
          )}
          {can('jobs.run') && (
            <Button leftSection={<IconPlayerPlay size={15} />} onClick={() => setRunning(targetsOf(url, tenant))}>
              {t('devices.runScript')}
            </Button>
          )}
        </>
      }
    >
      <ServerTable<Device>
        id="devices"
        label={t('devices.title')}
        columns={columns}
        queryKey={['devices', 'list', query]}
        fetchPage={(page, signal) => ok(api.GET('/api/v1/devices', { params: { query: { ...query, ...page, sort: sortOf(page.sort), with_total: !page.cursor } }, signal }))}
        rowId={(device) => device.id}
        rowLink={(device) => `/devices/${device.id}`}
        refreshMs={20_000}
        pageSize={200}
        filters={
          <FilterBar
            search="q"
            searchLabel={t('devices.search')}
            also={['filter', 'filter_id', 'site_id']}
            fields={[
              { key: 'presence', label: t('devices.presence'), options: PRESENCES.map((each) => ({ value: each, label: label('states', each) })) },
              { key: 'os_family', label: t('devices.osShort'), options: OPERATING_SYSTEMS.map((each) => ({ value: each, label: label('os', each) })) },
              { key: 'tag', label: t('fields.tag'), options: (tags.data?.items ?? []).map((each) => ({ value: each.name, label: `${each.name} (${each.device_count})` })) },
              { key: 'state', label: t('fields.state'), options: STATES.map((each) => ({ value: each, label: label('states', each) })) },
            ]}
          >
            {tenant && <SiteSelect label={undefined} aria-label={t('fields.site')} placeholder={t('fields.site')} clearable tenantId={tenant} value={url.site_id ?? null} onChange={(id) => setUrl({ site_id: id ?? undefined })} />}
            <FilterDrawer />
          </FilterBar>
        }
        empty={
          <EmptyState
            title={Object.keys(query).length > (tenant ? 1 : 0) ? t('devices.noneFound') : t('devices.none')}
            action={
              can('devices.enrol') &&
              Object.keys(query).length === (tenant ? 1 : 0) && (
                <Button leftSection={<IconPlus size={15} />} onClick={() => go('/enrolment')}>
                  {t('devices.add')}
                </Button>
              )
            }
          >
            {Object.keys(query).length > (tenant ? 1 : 0) ? t('devices.noneFoundHint') : t('devices.noneHint')}
          </EmptyState>
        }
        bulk={({ ids, clear }) => (
          <Group gap="xs">
            {can('jobs.run') && (
              <Button variant="default" leftSection={<IconPlayerPlay size={14} />} onClick={() => setRunning({ device_ids: ids })}>
                {t('devices.runScript')}
              </Button>
            )}
            {can('devices.manage') && (
              <Button variant="default" onClick={() => setTagging(ids)}>
                {t('devices.editTags')}
              </Button>
            )}
            {tagging && (
              <BulkTagsDialog
                ids={tagging}
                onClose={(changed) => {
                  setTagging(null);
                  if (changed) clear();
                }}
              />
            )}
          </Group>
        )}
      />
      {running && <RunDialog targets={running} onClose={() => setRunning(null)} />}
    </Page>
  );
}

const SORTS = ['name', '-name', 'enrolled_at', '-enrolled_at', 'os_name', '-os_name'] as const;

// An address may be mistyped: a sort the server does not know is no sort.
const sortOf = (sort: string | undefined) => SORTS.find((each) => each === sort);

// Running something from the list means: on what the list shows.
function targetsOf(url: Record<string, string | undefined>, tenant: string | undefined): Targets {
  const within = tenant ? { tenant_id: tenant } : {};
  const filter = parseFilter(url.filter);
  if (filter) return { filter, ...within };
  const terms = [
    ...(url.presence ? [{ field: 'presence' as const, op: 'eq' as const, value: url.presence }] : []),
    ...(url.os_family ? [{ field: 'os_family' as const, op: 'eq' as const, value: url.os_family }] : []),
    ...(url.tag ? [{ field: 'tag' as const, op: 'has' as const, value: url.tag }] : []),
    ...(url.q ? [{ field: 'name' as const, op: 'contains' as const, value: url.q }] : []),
    ...(url.site_id ? [{ field: 'site_id' as const, op: 'eq' as const, value: url.site_id }] : []),
  ];
  if (terms.length === 1 && url.tag) return { tag: url.tag, ...within };
  if (terms.length > 0) return { filter: { all: terms }, ...within };
  return tenant ? { tenant_id: tenant } : { device_ids: [] };
}
