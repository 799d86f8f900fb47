import { Badge, Group, Text } from '@mantine/core';
import { IconBrandApple, IconBrandUbuntu, IconBrandWindows, IconDeviceDesktop } from '@tabler/icons-react';
import type { Device } from '../../api/types';
import { Link } from '../../kit/Link';
import { PresenceDot, StateBadge } from '../../kit/StateBadge';
import type { Columns } from '../../kit/ServerTable';
import { TimeAgo } from '../../kit/TimeAgo';
import { plain } from '../../kit/safeText';
import { label, t } from '../../messages/t';

const OS_ICONS = { linux: IconBrandUbuntu, windows: IconBrandWindows, darwin: IconBrandApple, other: IconDeviceDesktop };

export function OsIcon({ family }: { family: Device['os_family'] }) {
  const Symbol = OS_ICONS[family];
  return <Symbol size={15} stroke={1.6} aria-label={label('os', family)} style={{ flex: 'none' }} />;
}

/** What a device is doing that matters most: a state that is not "active" beats its presence. */
function Condition({ device }: { device: Device }) {
  return device.state === 'active' ? <PresenceDot presence={device.presence} /> : <StateBadge state={device.state} hint={device.state_reason || undefined} />;
}

export function deviceColumns(withTenant: boolean): Columns<Device> {
  return [
    {
      id: 'name',
      header: t('fields.name'),
      meta: { sort: 'name', phone: true },
      cell: ({ row: { original: device } }) => (
        <Link to={`/devices/${device.id}`} fw={550} c="inherit">
          {plain(device.name)}
        </Link>
      ),
    },
    { id: 'presence', header: t('devices.presence'), meta: { width: 120, phone: true }, cell: ({ row }) => <Condition device={row.original} /> },
    ...(withTenant ? ([{ id: 'tenant', header: t('fields.tenant'), meta: { width: 160 }, cell: ({ row }) => row.original.tenant_name }] satisfies Columns<Device>) : []),
    { id: 'site', header: t('fields.site'), meta: { width: 122 }, cell: ({ row }) => row.original.site_name },
    {
      id: 'os',
      header: t('devices.os'),
      meta: { width: 205, sort: 'os_name' },
      cell: ({ row: { original: device } }) => (
        <Group gap={7} wrap="nowrap">
          <OsIcon family={device.os_family} />
          <span className="truncate">
            {plain(device.os_name)}{' '}
            <Text span c="dimmed" inherit>
              {plain(device.os_version)}
            </Text>
          </span>
        </Group>
      ),
    },
    {
      id: 'tags',
      header: t('fields.tags'),
      meta: { width: 145 },
      cell: ({ row }) => (
        <Group gap={4} wrap="nowrap">
          {row.original.tags.map((tag) => (
            <Badge key={tag} color="gray">
              {tag}
            </Badge>
          ))}
        </Group>
      ),
    },
    { id: 'address', header: t('devices.address'), meta: { width: 118 }, cell: ({ row }) => <span className="mono">{plain(row.original.addresses[0] ?? '')}</span> },
    { id: 'seen', header: t('devices.seen'), meta: { width: 110 }, cell: ({ row }) => <TimeAgo at={row.original.last_seen_at} /> },
    { id: 'kind', header: t('devices.kind'), meta: { width: 130, optional: true }, cell: ({ row }) => label('deviceKinds', row.original.kind) },
    { id: 'model', header: t('devices.model'), meta: { width: 200, optional: true }, cell: ({ row }) => plain([row.original.manufacturer, row.original.model].filter(Boolean).join(' ')) },
    { id: 'serial', header: t('devices.serial'), meta: { width: 140, optional: true }, cell: ({ row }) => <span className="mono">{plain(row.original.serial ?? '')}</span> },
    { id: 'users', header: t('devices.users'), meta: { width: 140, optional: true }, cell: ({ row }) => plain(row.original.logged_in_users.join(', ')) },
    { id: 'agent', header: t('devices.agentVersion'), meta: { width: 120, optional: true }, cell: ({ row }) => plain(row.original.agent_version) },
    { id: 'enrolled', header: t('devices.enrolled'), meta: { width: 130, sort: 'enrolled_at', optional: true }, cell: ({ row }) => <TimeAgo at={row.original.enrolled_at} /> },
  ];
}
