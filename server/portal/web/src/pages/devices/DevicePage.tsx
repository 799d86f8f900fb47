import { Alert, Badge, Group, Tabs } from '@mantine/core';
import { IconShieldX } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { Link } from '../../kit/Link';
import { Page } from '../../kit/Page';
import { ErrorState, PageSkeleton } from '../../kit/States';
import { PresenceDot, StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { plain } from '../../kit/safeText';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { TaskTable } from '../jobs/TaskTable';
import { DeviceActs } from './DeviceActs';
import { HistoryTab } from './HistoryTab';
import { InventoryTab } from './InventoryTab';
import { OverviewTab } from './OverviewTab';
import { PolicyTab } from './PolicyTab';
import { SoftwareTab } from './SoftwareTab';
import { TimelineTab } from './TimelineTab';

export const deviceQueryOf = (id: string) => ({
  queryKey: ['devices', id],
  queryFn: ({ signal }: { signal: AbortSignal }) => ok(api.GET('/api/v1/devices/{id}', { params: { path: { id } }, signal })),
  refetchInterval: 15_000,
});

export function Component() {
  const { id = '' } = useParams();
  const device = useQuery(deviceQueryOf(id));
  const crumbs = [{ label: t('devices.title'), to: '/devices' }];

  if (device.isError) {
    return (
      <Page title={t('fields.device')} crumbs={crumbs}>
        <ErrorState error={device.error} retry={() => void device.refetch()} />
      </Page>
    );
  }
  if (!device.data) {
    return (
      <Page title={t('fields.device')} crumbs={crumbs}>
        <PageSkeleton />
      </Page>
    );
  }
  return <DeviceView device={device.data} />;
}

function DeviceView({ device }: { device: Device }) {
  const [url, setUrl] = useUrlState();
  return (
    <Page
      title={plain(device.name)}
      crumbs={[
        { label: t('devices.title'), to: '/devices' },
        { label: device.tenant_name, to: `/devices?tenant=${device.tenant_id}` },
        { label: device.site_name, to: `/devices?tenant=${device.tenant_id}&site_id=${device.site_id}` },
      ]}
      badge={device.state === 'active' ? undefined : <StateBadge state={device.state} />}
      subtitle={
        <Group gap="md" mt={4}>
          <PresenceDot presence={device.presence} />
          <span>
            {t('devices.seen')} <TimeAgo at={device.last_seen_at} none={t('states.never')} />
          </span>
          <span>
            {plain(device.os_name)} {plain(device.os_version)}
          </span>
          <Group gap={4}>
            {device.tags.map((tag) => (
              <Badge key={tag} color="gray">
                {tag}
              </Badge>
            ))}
          </Group>
        </Group>
      }
      actions={<DeviceActs device={device} />}
    >
      {device.state === 'quarantined' && (
        <Alert color="red" icon={<IconShieldX size={18} />} title={t('devices.quarantinedTitle')}>
          {plain(device.state_reason)}
        </Alert>
      )}
      {device.state === 'pending' && <Alert color="yellow">{t('devices.pendingBody')}</Alert>}
      {device.state === 'retired' && <Alert color="gray">{t('devices.retiredBody')}</Alert>}
      <Tabs value={url.tab ?? 'overview'} onChange={(tab) => setUrl({ tab: tab === 'overview' ? undefined : (tab ?? undefined), state: undefined, sort: undefined, task: undefined, q: undefined, section: undefined }, true)}>
        <Tabs.List mb="md">
          <Tabs.Tab value="overview">{t('devices.tabOverview')}</Tabs.Tab>
          <Tabs.Tab value="inventory">{t('devices.tabInventory')}</Tabs.Tab>
          <Tabs.Tab value="software">{t('devices.tabSoftware')}</Tabs.Tab>
          <Tabs.Tab value="history">{t('devices.tabHistory')}</Tabs.Tab>
          <Tabs.Tab value="tasks">{t('jobs.tasks')}</Tabs.Tab>
          <Tabs.Tab value="timeline">{t('devices.tabTimeline')}</Tabs.Tab>
          <Tabs.Tab value="policy">{t('devices.tabPolicy')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="overview">
          <OverviewTab device={device} />
        </Tabs.Panel>
        <Tabs.Panel value="inventory">
          <InventoryTab device={device} />
        </Tabs.Panel>
        <Tabs.Panel value="software">
          <SoftwareTab device={device} />
        </Tabs.Panel>
        <Tabs.Panel value="history">
          <HistoryTab device={device} />
        </Tabs.Panel>
        <Tabs.Panel value="tasks">
          <TaskTable query={{ device_id: device.id }} live withJob maxHeight="65dvh" />
        </Tabs.Panel>
        <Tabs.Panel value="timeline">
          <TimelineTab device={device} />
        </Tabs.Panel>
        <Tabs.Panel value="policy">
          <PolicyTab device={device} />
        </Tabs.Panel>
      </Tabs>
      {url.tab === undefined && <Link to={`/audit?object_id=${device.id}`} fz="xs" c="dimmed">{t('devices.auditLink')}</Link>}
    </Page>
  );
}
