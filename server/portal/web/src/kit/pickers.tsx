import { Loader, MultiSelect, Select, TagsInput, type ComboboxItem } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useMemo, useState, type ReactNode } from 'react';
import { api, ok } from '../api/client';
import { PROVIDER_ID } from '../app/me';
import { t } from '../messages/t';

type FieldProps = {
  label?: ReactNode;
  description?: ReactNode;
  error?: ReactNode;
  required?: boolean;
  disabled?: boolean;
  placeholder?: string;
  clearable?: boolean;
  'aria-label'?: string;
};

type PickProps = FieldProps & { value: string | null | undefined; onChange: (id: string | null) => void };

type Found = { items: ComboboxItem[] };

/** A select that asks the server while one types; the chosen one is always among the options. */
function RemoteSelect({ value, onChange, queryKey, search, one, ...field }: PickProps & {
  queryKey: readonly unknown[];
  search: (q: string | undefined, signal: AbortSignal) => Promise<Found>;
  one?: (id: string, signal: AbortSignal) => Promise<ComboboxItem>;
}) {
  const [text, setText] = useState('');
  const [opened, setOpened] = useState(false);
  const [typed] = useDebouncedValue(text, 200);
  // Mantine writes the label of the chosen one into the search text, also of one chosen beforehand; only what is typed is a search.
  const [searching, setSearching] = useState(false);
  const q = (searching && typed) || undefined;
  const options = useQuery({ queryKey: [...queryKey, q], queryFn: ({ signal }) => search(q, signal), enabled: opened || !value, staleTime: 30_000, placeholderData: (before) => before });
  const missing = Boolean(value) && !options.data?.items.some((each) => each.value === value);
  const chosen = useQuery({ queryKey: [...queryKey, 'one', value], queryFn: ({ signal }) => one!(value!, signal), enabled: missing && Boolean(one), staleTime: 60_000 });
  const data = useMemo(() => {
    const items = options.data?.items ?? [];
    return missing && chosen.data ? [chosen.data, ...items] : items;
  }, [options.data, chosen.data, missing]);

  return (
    <Select
      {...field}
      searchable
      data={data}
      value={value ?? null}
      onChange={(id) => {
        setSearching(false);
        onChange(id);
      }}
      onInput={() => setSearching(true)}
      onSearchChange={setText}
      onDropdownOpen={() => setOpened(true)}
      filter={({ options: all }) => all}
      rightSection={options.isFetching && opened ? <Loader size={14} /> : undefined}
      nothingFoundMessage={options.isFetching ? t('kit.loading') : t('kit.nothingFound')}
      maxDropdownHeight={280}
    />
  );
}

/** Chooses a client; the MSP itself is among them only where it makes sense. */
export function TenantSelect({ withProvider, ...props }: PickProps & { withProvider?: boolean }) {
  return (
    <RemoteSelect
      label={t('fields.tenant')}
      placeholder={t('fields.tenantPlaceholder')}
      {...props}
      queryKey={['tenants', 'pick', withProvider ?? false]}
      search={async (q, signal) => {
        const { items } = await ok(api.GET('/api/v1/tenants', { params: { query: { limit: 50, ...(q ? { q } : {}) } }, signal }));
        return { items: items.filter((each) => withProvider || !each.is_provider).map((each) => ({ value: each.id, label: each.is_provider ? t('fields.providerItself', { name: each.name }) : each.name })) };
      }}
      one={async (id, signal) => {
        const each = await ok(api.GET('/api/v1/tenants/{id}', { params: { path: { id } }, signal }));
        return { value: id, label: id === PROVIDER_ID ? t('fields.providerItself', { name: each.name }) : each.name };
      }}
    />
  );
}

/** Chooses a site, of one client when it is known. */
export function SiteSelect({ tenantId, ...props }: PickProps & { tenantId?: string | null | undefined }) {
  return (
    <RemoteSelect
      label={t('fields.site')}
      placeholder={t('fields.sitePlaceholder')}
      {...props}
      queryKey={['sites', 'pick', tenantId ?? null]}
      search={async (q, signal) => {
        const query = { limit: 50, archived: false, ...(tenantId ? { tenant_id: tenantId } : {}), ...(q ? { q } : {}) };
        const { items } = await ok(api.GET('/api/v1/sites', { params: { query }, signal }));
        return { items: items.map((each) => ({ value: each.id, label: tenantId ? each.name : `${each.tenant_name} · ${each.name}` })) };
      }}
      one={async (id, signal) => {
        const each = await ok(api.GET('/api/v1/sites/{id}', { params: { path: { id } }, signal }));
        return { value: id, label: tenantId ? each.name : `${each.tenant_name} · ${each.name}` };
      }}
    />
  );
}

/** Chooses a script of the library. */
export function ScriptSelect(props: PickProps) {
  return (
    <RemoteSelect
      label={t('fields.script')}
      placeholder={t('fields.scriptPlaceholder')}
      {...props}
      queryKey={['scripts', 'pick']}
      search={async (q, signal) => {
        const { items } = await ok(api.GET('/api/v1/scripts', { params: { query: { limit: 50, archived: false, ...(q ? { q } : {}) } }, signal }));
        return { items: items.map((each) => ({ value: each.id, label: each.name })) };
      }}
      one={async (id, signal) => {
        const each = await ok(api.GET('/api/v1/scripts/{id}', { params: { path: { id } }, signal }));
        return { value: id, label: each.name };
      }}
    />
  );
}

/** Chooses one device by name. */
export function DeviceSelect({ tenantId, ...props }: PickProps & { tenantId?: string | undefined }) {
  return (
    <RemoteSelect
      label={t('fields.device')}
      placeholder={t('fields.devicePlaceholder')}
      {...props}
      queryKey={['devices', 'pick', tenantId ?? null]}
      search={async (q, signal) => {
        const items = await findDevices(q, tenantId, signal);
        return { items };
      }}
      one={async (id, signal) => {
        const each = await ok(api.GET('/api/v1/devices/{id}', { params: { path: { id } }, signal }));
        return { value: id, label: `${each.name} · ${each.tenant_name}` };
      }}
    />
  );
}

async function findDevices(q: string | undefined, tenantId: string | undefined, signal: AbortSignal): Promise<ComboboxItem[]> {
  const query = { limit: 30, ...(tenantId ? { tenant_id: tenantId } : {}), ...(q ? { q } : {}) };
  const { items } = await ok(api.GET('/api/v1/devices', { params: { query }, signal }));
  return items.map((each) => ({ value: each.id, label: `${each.name} · ${each.tenant_name}` }));
}

/** Chooses devices by name; names of devices chosen elsewhere are looked up. */
export function DevicesSelect({ value, onChange, tenantId, ...field }: FieldProps & { value: string[]; onChange: (ids: string[]) => void; tenantId?: string | undefined }) {
  const [text, setText] = useState('');
  const [q] = useDebouncedValue(text, 200);
  const found = useQuery({ queryKey: ['devices', 'many', tenantId ?? null, q], queryFn: ({ signal }) => findDevices(q || undefined, tenantId, signal), staleTime: 30_000, placeholderData: (before) => before });
  const [seen, setSeen] = useState<Map<string, string>>(() => new Map());
  const unknown = value.filter((id) => !seen.has(id)).slice(0, 50);
  const names = useQuery({
    queryKey: ['devices', 'names', unknown],
    enabled: unknown.length > 0,
    staleTime: 60_000,
    queryFn: ({ signal }) =>
      Promise.all(
        unknown.map(async (id) => {
          const each = await ok(api.GET('/api/v1/devices/{id}', { params: { path: { id } }, signal }));
          return { value: id, label: `${each.name} · ${each.tenant_name}` };
        }),
      ),
  });
  const data = useMemo(() => {
    const all = new Map(seen);
    for (const each of [...(names.data ?? []), ...(found.data ?? [])]) all.set(each.value, each.label);
    const shown = new Set([...value, ...(found.data ?? []).map((each) => each.value)]);
    return [...shown].map((id) => ({ value: id, label: all.get(id) ?? `${id.slice(0, 8)}…` }));
  }, [seen, names.data, found.data, value]);

  return (
    <MultiSelect
      label={t('fields.devices')}
      {...field}
      searchable
      hidePickedOptions
      data={data}
      value={value}
      onChange={(ids) => {
        setSeen((before) => new Map([...before, ...data.filter((each) => ids.includes(each.value)).map((each) => [each.value, each.label] as const)]));
        onChange(ids);
      }}
      searchValue={text}
      onSearchChange={setText}
      filter={({ options }) => options}
      nothingFoundMessage={found.isFetching ? t('kit.loading') : t('kit.nothingFound')}
      maxDropdownHeight={280}
    />
  );
}

export const tagsQuery = (tenantId?: string) => ({
  queryKey: ['tags', tenantId ?? null],
  queryFn: ({ signal }: { signal: AbortSignal }) => ok(api.GET('/api/v1/tags', { params: { query: tenantId ? { tenant_id: tenantId } : {} }, signal })),
  staleTime: 60_000,
});

/** Tags as chips; those in use are offered, new ones may be typed. */
export function TagsField({ value, onChange, ...field }: FieldProps & { value: string[]; onChange: (tags: string[]) => void }) {
  const tags = useQuery(tagsQuery());
  return <TagsInput label={t('fields.tags')} {...field} value={value} onChange={onChange} data={tags.data?.items.map((each) => each.name) ?? []} maxDropdownHeight={240} splitChars={[',', ' ']} clearable />;
}

/** One tag among those in use. */
export function TagSelect({ value, onChange, ...field }: PickProps) {
  const tags = useQuery(tagsQuery());
  const data = [...new Set([...(value ? [value] : []), ...(tags.data?.items.map((each) => each.name) ?? [])])];
  return <Select label={t('fields.tag')} {...field} searchable data={data} value={value ?? null} onChange={onChange} nothingFoundMessage={t('kit.nothingFound')} />;
}

const BROWSER_ZONES = (() => {
  try {
    return ['UTC', ...Intl.supportedValuesOf('timeZone').filter((zone) => zone !== 'UTC')];
  } catch {
    return ['UTC'];
  }
})();

/** Chooses an IANA time zone; each shows how far it is from UTC now. */
export function ZoneSelect({ value, onChange, ...field }: PickProps) {
  const data = useMemo(() => [...new Set([...(value ? [value] : []), ...BROWSER_ZONES])], [value]);
  return (
    <Select
      label={t('fields.zone')}
      {...field}
      searchable
      data={data}
      value={value ?? null}
      onChange={onChange}
      limit={60}
      maxDropdownHeight={280}
      nothingFoundMessage={t('kit.nothingFound')}
      renderOption={({ option }) => (
        <span>
          {option.value} <span style={{ opacity: 0.6 }}>{offset(option.value)}</span>
        </span>
      )}
    />
  );
}

function offset(zone: string): string {
  try {
    const parts = new Intl.DateTimeFormat('en', { timeZone: zone, timeZoneName: 'longOffset' }).formatToParts(new Date());
    return parts.find((part) => part.type === 'timeZoneName')?.value.replace('GMT', 'UTC') ?? '';
  } catch {
    return '';
  }
}

export const browserZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
