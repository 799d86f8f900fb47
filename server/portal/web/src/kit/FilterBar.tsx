import { Button, Group, Popover, Select, Stack, TextInput } from '@mantine/core';
import { useDebouncedCallback, useMediaQuery } from '@mantine/hooks';
import { IconAdjustmentsHorizontal, IconSearch, IconX } from '@tabler/icons-react';
import { useEffect, useRef, useState, type ReactNode } from 'react';
import { t } from '../messages/t';
import { useUrlState } from './url';

export type FilterField = {
  /** Name in the address and in the API. */
  key: string;
  label: string;
  options: { value: string; label: string }[];
};

type Props = {
  /** With it there is a search box; it is the parameter's name in the address. */
  search?: string;
  searchLabel?: string;
  fields?: FilterField[];
  /** Filters of its own kind, e.g. a picker or the filter builder. */
  children?: ReactNode;
  /** Other parameters that count as filters and are cleared with them. */
  also?: string[];
};

/** Search and filters of a table; all of it is held in the address. */
export function FilterBar({ search, searchLabel = t('kit.search'), fields = [], children, also = [] }: Props) {
  const [url, setUrl] = useUrlState();
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const keys = [...fields.map((field) => field.key), ...also, ...(search ? [search] : [])];
  const active = keys.filter((key) => url[key]);

  const inner = fields.map((field) => (
    <Select
      key={field.key}
      size="xs"
      w={phone ? '100%' : 134}
      aria-label={field.label}
      placeholder={field.label}
      data={field.options}
      value={url[field.key] ?? null}
      onChange={(value) => setUrl({ [field.key]: value ?? undefined })}
      clearable
    />
  ));
  const clear = active.length > 0 && (
    <Button variant="subtle" color="gray" size="compact-xs" leftSection={<IconX size={13} />} onClick={() => setUrl(Object.fromEntries(active.map((key) => [key, undefined])))}>
      {t('kit.clearFilters')}
    </Button>
  );

  return (
    <Group gap="xs" wrap={phone ? 'nowrap' : 'wrap'}>
      {search && <SearchBox key={search} name={search} label={searchLabel} grow={phone ?? false} />}
      {phone && (fields.length > 0 || children) ? (
        <Popover position="bottom-end" shadow="md" width={280}>
          <Popover.Target>
            <Button variant="default" leftSection={<IconAdjustmentsHorizontal size={15} />}>
              {t('kit.filters')}
              {active.filter((key) => key !== search).length > 0 ? ` · ${active.filter((key) => key !== search).length}` : ''}
            </Button>
          </Popover.Target>
          <Popover.Dropdown>
            <Stack gap="sm">
              {inner}
              {children}
              {clear}
            </Stack>
          </Popover.Dropdown>
        </Popover>
      ) : (
        <>
          {inner}
          {children}
          {clear}
        </>
      )}
    </Group>
  );
}

function SearchBox({ name, label, grow }: { name: string; label: string; grow: boolean }) {
  const [url, setUrl] = useUrlState();
  const [text, setText] = useState(url[name] ?? '');
  const held = url[name] ?? '';
  const pushed = useRef(held);
  const push = useDebouncedCallback((value: string) => {
    pushed.current = value.trim();
    setUrl({ [name]: pushed.current || undefined });
  }, 250);
  // The address may change under the box (the back button, "clear filters"); what the box itself wrote is no change.
  useEffect(() => {
    if (held === pushed.current) return;
    pushed.current = held;
    setText(held);
  }, [held]);

  return (
    <TextInput
      size="xs"
      type="search"
      w={grow ? undefined : 215}
      flex={grow ? 1 : undefined}
      leftSection={<IconSearch size={14} />}
      aria-label={label}
      placeholder={label}
      value={text}
      onChange={(event) => {
        setText(event.currentTarget.value);
        push(event.currentTarget.value);
      }}
    />
  );
}
