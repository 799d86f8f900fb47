import { Alert, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconClockExclamation } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { duration, exactTime } from '../../kit/format';
import { useNow } from '../../kit/clock';
import { Facts, Panel } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { label, t } from '../../messages/t';
import { CustomFieldsPanel } from './CustomFieldsPanel';
import { SectionData } from './SectionData';

const SKEW_SHOWN_MS = 5_000;

export function OverviewTab({ device }: { device: Device }) {
  const now = useNow();
  const skew = device.clock_skew_ms ?? 0;
  return (
    <Stack gap="md">
      {Math.abs(skew) > SKEW_SHOWN_MS && (
        <Alert color="yellow" icon={<IconClockExclamation size={18} />}>
          {t('devices.skew', { by: duration(Math.abs(skew) / 1000), direction: skew > 0 ? t('devices.ahead') : t('devices.behind') })}
        </Alert>
      )}
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        <Panel title={t('devices.system')}>
          <Facts
            items={[
              [t('devices.hostname'), plain(device.hostname)],
              [t('devices.os'), `${plain(device.os_name)} ${plain(device.os_version)}`],
              [t('devices.kind'), label('deviceKinds', device.kind)],
              [t('devices.arch'), device.arch],
              [t('devices.manufacturer'), plain(device.manufacturer ?? '')],
              [t('devices.model'), plain(device.model ?? '')],
              [t('devices.serial'), device.serial ? <span key="s" className="mono">{plain(device.serial)}</span> : null],
              [t('devices.up'), device.boot_at ? duration((now - Date.parse(device.boot_at)) / 1000) : null],
              [t('devices.users'), plain(device.logged_in_users.join(', '))],
              [t('fields.zone'), device.zone],
            ]}
          />
        </Panel>
        <Panel title={t('devices.management')}>
          <Facts
            items={[
              [t('fields.tenant'), device.tenant_name],
              [t('fields.site'), device.site_name],
              [t('devices.addresses'), <span key="a" className="mono">{device.addresses.map(plain).join(', ')}</span>],
              [t('devices.agentVersion'), plain(device.agent_version)],
              [t('devices.enrolled'), exactTime(device.enrolled_at)],
              [t('devices.seen'), device.last_seen_at ? exactTime(device.last_seen_at) : t('states.never')],
              ['ID', <span key="i" className="mono">{device.id}</span>],
              device.simulated ? [t('devices.simulated'), t('kit.yes')] : null,
            ]}
          />
          {device.notes && (
            <Text size="sm" mt="md" style={{ whiteSpace: 'pre-wrap' }} className="foreign">
              {device.notes}
            </Text>
          )}
        </Panel>
      </SimpleGrid>
      <Volumes device={device} />
      <CustomFieldsPanel objectType="device" objectId={device.id} />
    </Stack>
  );
}

// The one part of the inventory that one looks for first.
function Volumes({ device }: { device: Device }) {
  const inventory = useQuery({ queryKey: ['inventory', device.id], queryFn: ({ signal }) => ok(api.GET('/api/v1/devices/{id}/inventory', { params: { path: { id: device.id } }, signal })) });
  const section = inventory.data?.sections.find((each) => each.name === 'volumes');
  if (!section) return null;
  return (
    <Panel title={label('sections', 'volumes')} flush>
      <SectionData data={section.data} />
    </Panel>
  );
}
