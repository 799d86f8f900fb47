import { Button, Group, Stack, Text } from '@mantine/core';
import { IconRefresh } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { useCan } from '../../app/me';
import { Panel } from '../../kit/Page';
import { EmptyState, ErrorState, PageSkeleton } from '../../kit/States';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { label, t } from '../../messages/t';
import { SectionData } from './SectionData';

const ORDER = ['os', 'hardware', 'disks', 'volumes', 'network', 'users', 'services'];
const place = (name: string) => (ORDER.indexOf(name) + 1 || ORDER.length + 1) - 1;

export function InventoryTab({ device }: { device: Device }) {
  const can = useCan();
  const { act, busy } = useAct('inventory', 'tasks');
  const inventory = useQuery({
    queryKey: ['inventory', device.id],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/devices/{id}/inventory', { params: { path: { id: device.id } }, signal })),
    refetchInterval: 30_000,
  });
  const refresh = can('devices.manage') && device.state === 'active' && (
    <Button variant="default" leftSection={<IconRefresh size={15} />} loading={busy} onClick={() => void act(() => ok(api.POST('/api/v1/devices/{id}/inventory/refresh', { params: { path: { id: device.id } } })), t('devices.refreshing'))}>
      {t('devices.refreshInventory')}
    </Button>
  );

  if (inventory.isError) return <ErrorState error={inventory.error} retry={() => void inventory.refetch()} />;
  if (!inventory.data) return <PageSkeleton />;
  // Software is long and has a tab of its own.
  const sections = inventory.data.sections.filter((each) => each.name !== 'software').sort((a, b) => place(a.name) - place(b.name));
  if (sections.length === 0) {
    return (
      <EmptyState title={t('devices.noInventory')} action={refresh}>
        {t('devices.noInventoryHint')}
      </EmptyState>
    );
  }
  return (
    <Stack gap="md">
      <Group justify="flex-end">{refresh}</Group>
      {sections.map((section) => (
        <Panel
          key={section.name}
          flush
          title={label('sections', section.name)}
          actions={
            <Text size="xs" c="dimmed">
              {t('devices.collected')} <TimeAgo at={section.collected_at} />
            </Text>
          }
        >
          <SectionData data={section.data} />
        </Panel>
      ))}
    </Stack>
  );
}
