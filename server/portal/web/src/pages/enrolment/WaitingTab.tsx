import { ActionIcon, Button, Group } from '@mantine/core';
import { IconCheck, IconX } from '@tabler/icons-react';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { useCan } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { Link } from '../../kit/Link';
import { plain } from '../../kit/safeText';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { label, t } from '../../messages/t';

const columns: Columns<Device> = [
  {
    id: 'name',
    header: t('fields.name'),
    meta: { phone: true },
    cell: ({ row: { original: device } }) => (
      <Link to={`/devices/${device.id}`} fw={550} c="inherit">
        {plain(device.name)}
      </Link>
    ),
  },
  { id: 'tenant', header: t('fields.tenant'), meta: { width: 170 }, cell: ({ row }) => row.original.tenant_name },
  { id: 'site', header: t('fields.site'), meta: { width: 150 }, cell: ({ row }) => row.original.site_name },
  { id: 'os', header: t('devices.os'), meta: { width: 190 }, cell: ({ row: { original: device } }) => plain(`${device.os_name} ${device.os_version}`.trim()) || label('os', device.os_family) },
  { id: 'serial', header: t('devices.serial'), meta: { width: 150 }, cell: ({ row }) => plain(row.original.serial ?? '') },
  { id: 'enrolled', header: t('devices.enrolled'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.enrolled_at} /> },
];

const actsColumn: Columns<Device>[number] = { id: 'acts', header: '', meta: { width: 160, phone: true }, cell: ({ row }) => <Acts device={row.original} /> };

/** Devices that knock: each waits until somebody lets it in. */
export function WaitingTab() {
  const tenant = useTenantId();
  const decides = useCan()('devices.approve');
  const query = { state: 'pending' as const, ...(tenant ? { tenant_id: tenant } : {}) };
  return (
    <ServerTable<Device>
      id="waiting-devices"
      label={t('enrolment.waiting')}
      columns={decides ? [...columns, actsColumn] : columns}
      queryKey={['devices', 'waiting', query]}
      fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/devices', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
      rowId={(device) => device.id}
      refreshMs={10_000}
      empty={<EmptyState title={t('enrolment.nobodyWaits')}>{t('enrolment.nobodyWaitsHint')}</EmptyState>}
    />
  );
}

function Acts({ device }: { device: Device }) {
  const confirm = useConfirm();
  const { act, busy } = useAct('devices', 'dashboard');
  const name = plain(device.name);
  async function decide(verb: 'approve' | 'reject') {
    const answer = await confirm(
      verb === 'approve'
        ? { title: t('devices.approveTitle', { name }), body: t('devices.approveBody'), confirm: t('devices.approve') }
        : { title: t('devices.rejectTitle', { name }), confirm: t('devices.reject'), danger: true, reason: 'optional' },
    );
    if (!answer) return;
    await act(() => ok(api.POST(`/api/v1/devices/{id}/${verb}`, { params: { path: { id: device.id } }, body: { version: device.version, ...(answer.reason ? { reason: answer.reason } : {}) } })), t('kit.saved'));
  }
  return (
    <Group gap={6} wrap="nowrap" justify="flex-end">
      <Button size="compact-xs" leftSection={<IconCheck size={13} />} loading={busy} onClick={() => void decide('approve')}>
        {t('devices.approve')}
      </Button>
      <ActionIcon variant="default" size={24} aria-label={t('devices.rejectTitle', { name })} title={t('devices.reject')} disabled={busy} onClick={() => void decide('reject')}>
        <IconX size={13} />
      </ActionIcon>
    </Group>
  );
}
