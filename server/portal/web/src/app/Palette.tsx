import { Spotlight } from '@mantine/spotlight';
import { useDebouncedValue } from '@mantine/hooks';
import { IconDevices2, IconSearch } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../api/client';
import { label, t } from '../messages/t';
import { useMe } from './me';
import { navigation } from './navigation';
import { useGo, useTenantId } from './tenant';

/** Ctrl K: go to a page or find a device without the mouse. */
export function Palette() {
  const [query, setQuery] = useState('');
  const [q] = useDebouncedValue(query.trim(), 200);
  const { permissions } = useMe();
  const tenant = useTenantId();
  const go = useGo();
  const devices = useQuery({
    queryKey: ['devices', 'palette', q, tenant ?? null],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/devices', { params: { query: { q, limit: 8, ...(tenant ? { tenant_id: tenant } : {}) } }, signal })),
    enabled: q.length > 1 && permissions.includes('devices.read'),
  });
  const pages = navigation
    .flatMap((group) => group.items)
    .filter((item) => !item.needs || item.needs.some((each) => permissions.includes(each)))
    .filter((item) => t(item.label).toLowerCase().includes(query.trim().toLowerCase()));
  const found = q.length > 1 ? (devices.data?.items ?? []) : [];

  return (
    <Spotlight.Root query={query} onQueryChange={setQuery} shortcut="mod + K" clearQueryOnClose>
      <Spotlight.Search placeholder={t('nav.findHint')} leftSection={<IconSearch size={17} />} aria-label={t('nav.find')} />
      <Spotlight.ActionsList>
        {found.length > 0 && (
          <Spotlight.ActionsGroup label={t('nav.devices')}>
            {found.map((device) => (
              <Spotlight.Action key={device.id} label={device.name} description={`${device.tenant_name} · ${device.site_name} · ${label('states', device.presence)}`} leftSection={<IconDevices2 size={18} />} onClick={() => go(`/devices/${device.id}`)} />
            ))}
          </Spotlight.ActionsGroup>
        )}
        {pages.length > 0 && (
          <Spotlight.ActionsGroup label={t('nav.pages')}>
            {pages.map((item) => (
              <Spotlight.Action key={item.to} label={t(item.label)} leftSection={<item.icon size={18} />} onClick={() => go(item.to)} />
            ))}
          </Spotlight.ActionsGroup>
        )}
        {found.length + pages.length === 0 && <Spotlight.Empty>{devices.isFetching ? t('kit.loading') : t('kit.nothingFound')}</Spotlight.Empty>}
      </Spotlight.ActionsList>
    </Spotlight.Root>
  );
}
