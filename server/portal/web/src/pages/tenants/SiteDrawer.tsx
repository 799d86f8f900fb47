import { Button, Drawer, Group, Stack, Text } from '@mantine/core';
import { IconArchive, IconArchiveOff, IconDevices2, IconPencil } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Site } from '../../api/types';
import { useCan } from '../../app/me';
import { useGo } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { number } from '../../kit/format';
import { Loaded } from '../../kit/Loaded';
import { Facts } from '../../kit/Page';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { t } from '../../messages/t';
import { CustomFieldsPanel } from '../devices/CustomFieldsPanel';
import { SiteDialog } from './SiteDialog';

/** One site, beside the list it was chosen from. */
export function SiteDrawer({ id, onClose }: { id: string; onClose: () => void }) {
  const site = useQuery({ queryKey: ['sites', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/sites/{id}', { params: { path: { id } }, signal })) });
  return (
    <Drawer opened onClose={onClose} size="lg" title={<Text fw={600}>{site.data?.name ?? t('fields.site')}</Text>}>
      <Loaded query={site}>{(found) => <SiteView site={found} />}</Loaded>
    </Drawer>
  );
}

function SiteView({ site }: { site: Site }) {
  const can = useCan();
  const go = useGo();
  const confirm = useConfirm();
  const { act, busy } = useAct('sites', 'tenants');
  const [editing, setEditing] = useState(false);

  async function archive(archived: boolean) {
    if (archived && !(await confirm({ title: t('tenants.archiveSiteTitle', { name: site.name }), body: t('tenants.archiveSiteBody'), confirm: t('tenants.archive') }))) return;
    await act(() => ok(api.PATCH('/api/v1/sites/{id}', { params: { path: { id: site.id } }, body: { version: site.version, archived } })), t('kit.saved'));
  }

  return (
    <Stack gap="lg">
      <Group gap="xs">
        {can('devices.read') && (
          <Button variant="default" leftSection={<IconDevices2 size={15} />} onClick={() => go(`/devices?tenant=${site.tenant_id}&site_id=${site.id}`)}>
            {t('nav.devices')}
          </Button>
        )}
        {can('sites.manage') && (
          <>
            <Button variant="default" leftSection={<IconPencil size={15} />} onClick={() => setEditing(true)}>
              {t('kit.edit')}
            </Button>
            <Button variant="default" leftSection={site.archived ? <IconArchiveOff size={15} /> : <IconArchive size={15} />} loading={busy} onClick={() => void archive(!site.archived)}>
              {site.archived ? t('tenants.restore') : t('tenants.archive')}
            </Button>
          </>
        )}
      </Group>
      <Facts
        items={[
          [t('fields.tenant'), site.tenant_name],
          [t('fields.state'), <StateBadge key="s" state={site.archived ? 'archived' : 'active'} />],
          [t('fields.devices'), number(site.device_count)],
          [t('fields.zone'), site.zone ? site.effective_zone : t('tenants.zoneOfTenant', { zone: site.effective_zone })],
          [t('tenants.address'), site.address],
          [t('fields.created'), <TimeAgo key="c" at={site.created_at} />],
        ]}
      />
      {site.notes && (
        <Text size="sm" className="foreign" style={{ whiteSpace: 'pre-wrap' }}>
          {site.notes}
        </Text>
      )}
      <CustomFieldsPanel objectType="site" objectId={site.id} />
      {editing && <SiteDialog tenantId={site.tenant_id} site={site} onClose={() => setEditing(false)} />}
    </Stack>
  );
}
