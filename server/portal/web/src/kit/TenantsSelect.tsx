import { MultiSelect } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { useMemo, useState, type ReactNode } from 'react';
import { api, ok } from '../api/client';
import { t } from '../messages/t';

type Props = { value: string[]; onChange: (ids: string[]) => void; label?: ReactNode; description?: ReactNode; error?: ReactNode; required?: boolean; placeholder?: string };

/** Chooses clients by name; names of those chosen elsewhere are looked up. */
export function TenantsSelect({ value, onChange, label = t('nav.clients'), ...field }: Props) {
  const [text, setText] = useState('');
  const [q] = useDebouncedValue(text, 200);
  const [seen, setSeen] = useState<Map<string, string>>(() => new Map());
  const found = useQuery({
    queryKey: ['tenants', 'many', q],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/tenants', { params: { query: { limit: 50, ...(q ? { q } : {}) } }, signal })),
    staleTime: 30_000,
    placeholderData: (before) => before,
  });
  const unknown = value.filter((id) => !seen.has(id) && !found.data?.items.some((each) => each.id === id)).slice(0, 50);
  const names = useQuery({
    queryKey: ['tenants', 'names', unknown],
    enabled: found.isSuccess && unknown.length > 0,
    staleTime: 60_000,
    queryFn: ({ signal }) => Promise.all(unknown.map((id) => ok(api.GET('/api/v1/tenants/{id}', { params: { path: { id } }, signal })))),
  });
  const data = useMemo(() => {
    const all = new Map(seen);
    for (const each of [...(names.data ?? []), ...(found.data?.items ?? [])]) all.set(each.id, each.is_provider ? t('fields.providerItself', { name: each.name }) : each.name);
    const shown = new Set([...value, ...(found.data?.items ?? []).map((each) => each.id)]);
    return [...shown].map((id) => ({ value: id, label: all.get(id) ?? `${id.slice(0, 8)}…` }));
  }, [seen, names.data, found.data, value]);

  return (
    <MultiSelect
      label={label}
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
      maxDropdownHeight={260}
    />
  );
}
