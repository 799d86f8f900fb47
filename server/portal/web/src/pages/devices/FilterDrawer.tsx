import { ActionIcon, Badge, Button, Divider, Drawer, Group, Menu, Stack, Switch, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconBookmark, IconFilter, IconTrash } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, ok } from '../../api/client';
import type { DeviceFilter } from '../../api/types';
import { FilterBuilder } from '../../kit/FilterBuilder';
import { complete, countTerms, newTerm, parseFilter } from '../../kit/filterModel';
import { useAct } from '../../kit/useAct';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';

/** Saved filters and the builder for filters of one's own. */
export function FilterDrawer() {
  const [url, setUrl] = useUrlState();
  const [opened, { open, close }] = useDisclosure();
  const saved = useQuery({ queryKey: ['saved-filters'], queryFn: ({ signal }) => ok(api.GET('/api/v1/saved-filters', { signal })), staleTime: 60_000 });
  const current = parseFilter(url.filter);
  const chosen = saved.data?.items.find((each) => each.id === url.filter_id);

  return (
    <>
      <Menu position="bottom-start" width={280}>
        <Menu.Target>
          <Button variant="default" size="xs" leftSection={<IconBookmark size={14} />} fw={450}>
            {chosen ? chosen.name : t('devices.savedFilters')}
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          {saved.data?.items.length === 0 && <Menu.Label>{t('devices.noSavedFilters')}</Menu.Label>}
          {saved.data?.items.map((each) => (
            <Menu.Item key={each.id} onClick={() => setUrl({ filter_id: each.id, filter: undefined })} rightSection={each.shared ? <Badge color="gray">{t('devices.shared')}</Badge> : undefined}>
              {each.name}
            </Menu.Item>
          ))}
        </Menu.Dropdown>
      </Menu>
      <Button variant={current ? 'light' : 'default'} size="xs" leftSection={<IconFilter size={14} />} onClick={open} fw={450}>
        {current ? t('devices.filterTerms', { n: countTerms(current) }) : t('devices.advanced')}
      </Button>
      {opened && (
        <Drawer opened onClose={close} title={<Text fw={600}>{t('devices.advanced')}</Text>} size={620}>
          <Builder initial={current ?? chosen?.filter ?? { all: [newTerm()] }} onClose={close} onApply={(filter) => setUrl({ filter: filter ? JSON.stringify(filter) : undefined, filter_id: undefined })} />
          <Divider my="lg" label={t('devices.savedFilters')} labelPosition="left" />
          <SavedList />
        </Drawer>
      )}
    </>
  );
}

function Builder({ initial, onClose, onApply }: { initial: DeviceFilter; onClose: () => void; onApply: (filter: DeviceFilter | undefined) => void }) {
  const [filter, setFilter] = useState(initial);
  const [name, setName] = useState('');
  const [shared, setShared] = useState(false);
  const { act, busy } = useAct('saved-filters');
  const ready = complete(filter);

  async function save(event: FormEvent) {
    event.preventDefault();
    if (!ready) return;
    const result = await act(() => ok(api.POST('/api/v1/saved-filters', { body: { name: name.trim(), shared, filter: ready } })), t('devices.filterSaved'));
    if (result) setName('');
  }

  return (
    <Stack gap="md">
      <FilterBuilder value={filter} onChange={setFilter} />
      <Group justify="flex-end">
        <Button variant="default" onClick={() => onApply(undefined)}>
          {t('kit.clearFilters')}
        </Button>
        <Button
          disabled={!ready}
          onClick={() => {
            onApply(ready);
            onClose();
          }}
        >
          {t('devices.applyFilter')}
        </Button>
      </Group>
      <form onSubmit={(event) => void save(event)}>
        <Group align="flex-end" gap="sm">
          <TextInput label={t('devices.saveFilterAs')} required maxLength={120} flex={1} value={name} onChange={(event) => setName(event.currentTarget.value)} />
          <Switch label={t('devices.shared')} checked={shared} onChange={(event) => setShared(event.currentTarget.checked)} mb={6} />
          <Button type="submit" variant="default" size="sm" loading={busy} disabled={!ready}>
            {t('kit.save')}
          </Button>
        </Group>
      </form>
    </Stack>
  );
}

function SavedList() {
  const { act, busy } = useAct('saved-filters');
  const saved = useQuery({ queryKey: ['saved-filters'], queryFn: ({ signal }) => ok(api.GET('/api/v1/saved-filters', { signal })) });
  if (!saved.data || saved.data.items.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        {t('devices.noSavedFilters')}
      </Text>
    );
  }
  return (
    <Stack gap={4}>
      {saved.data.items.map((each) => (
        <Group key={each.id} justify="space-between" wrap="nowrap">
          <Text size="sm" className="truncate">
            {each.name}
          </Text>
          {each.own && (
            <ActionIcon aria-label={t('devices.deleteFilter', { name: each.name })} disabled={busy} onClick={() => void act(() => ok(api.DELETE('/api/v1/saved-filters/{id}', { params: { path: { id: each.id } } })))}>
              <IconTrash size={15} />
            </ActionIcon>
          )}
        </Group>
      ))}
    </Stack>
  );
}
