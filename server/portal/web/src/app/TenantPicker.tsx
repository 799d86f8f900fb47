import { Combobox, InputBase, Loader, ScrollArea, Text, useCombobox } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconBuilding, IconSelector } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../api/client';
import { t } from '../messages/t';
import { useMe } from './me';
import { useChooseTenant, useTenantId } from './tenant';

const ALL = '*';

/** The client everything on the page is about; hidden from those who have only one. */
export function TenantPicker() {
  const me = useMe();
  const chosen = useTenantId();
  const choose = useChooseTenant();
  const [search, setSearch] = useState('');
  const [q] = useDebouncedValue(search, 200);
  const combobox = useCombobox({
    onDropdownClose: () => {
      combobox.resetSelectedOption();
      setSearch('');
    },
    onDropdownOpen: () => combobox.focusSearchInput(),
  });
  const list = useQuery({
    queryKey: ['tenants', 'picker', q],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/tenants', { params: { query: { limit: 50, ...(q ? { q } : {}) } }, signal })),
    enabled: combobox.dropdownOpened,
    placeholderData: (before) => before,
  });
  const current = useQuery({
    queryKey: ['tenants', chosen],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/tenants/{id}', { params: { path: { id: chosen! } }, signal })),
    enabled: Boolean(chosen),
    staleTime: 60_000,
  });

  if (!me.is_staff) {
    return (
      <Text size="sm" fw={550} className="truncate">
        {me.tenant_name}
      </Text>
    );
  }
  const name = chosen ? (current.data?.name ?? (current.isError ? t('nav.unknownTenant') : '…')) : t('nav.allTenants');
  return (
    <Combobox
      store={combobox}
      width={300}
      position="bottom-start"
      shadow="md"
      onOptionSubmit={(id) => {
        choose(id === ALL ? undefined : id);
        combobox.closeDropdown();
      }}
    >
      <Combobox.Target withAriaAttributes={false}>
        <InputBase
          component="button"
          type="button"
          pointer
          size="xs"
          miw={0}
          w={{ base: 150, sm: 220 }}
          leftSection={<IconBuilding size={15} aria-hidden />}
          rightSection={<IconSelector size={14} aria-hidden />}
          rightSectionPointerEvents="none"
          onClick={() => combobox.toggleDropdown()}
          aria-label={t('nav.tenant', { name })}
          aria-haspopup="listbox"
          aria-expanded={combobox.dropdownOpened}
        >
          <span className="truncate">{name}</span>
        </InputBase>
      </Combobox.Target>
      <Combobox.Dropdown>
        <Combobox.Search value={search} onChange={(event) => setSearch(event.currentTarget.value)} placeholder={t('fields.tenantPlaceholder')} aria-label={t('fields.tenantPlaceholder')} rightSection={list.isFetching ? <Loader size={13} /> : null} />
        <Combobox.Options>
          <ScrollArea.Autosize mah={320} type="scroll">
            {!q && (
              <Combobox.Option value={ALL} active={!chosen}>
                {t('nav.allTenants')}
              </Combobox.Option>
            )}
            {list.data?.items.map((tenant) => (
              <Combobox.Option value={tenant.id} key={tenant.id} active={tenant.id === chosen}>
                <Text size="sm" className="truncate">
                  {tenant.name}
                </Text>
                <Text size="xs" c="dimmed">
                  {tenant.is_provider ? t('nav.provider') : t('nav.deviceCount', { n: tenant.device_count })}
                </Text>
              </Combobox.Option>
            ))}
            {list.data?.items.length === 0 && <Combobox.Empty>{t('kit.nothingFound')}</Combobox.Empty>}
          </ScrollArea.Autosize>
        </Combobox.Options>
      </Combobox.Dropdown>
    </Combobox>
  );
}
