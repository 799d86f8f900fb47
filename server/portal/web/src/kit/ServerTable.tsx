import { ActionIcon, Button, Checkbox, Group, Loader, Menu, Skeleton, Text, Tooltip } from '@mantine/core';
import { useLocalStorage, useMediaQuery } from '@mantine/hooks';
import { IconChevronDown, IconChevronUp, IconColumns3, IconRefresh, IconSelector } from '@tabler/icons-react';
import { keepPreviousData, useInfiniteQuery } from '@tanstack/react-query';
import { flexRender, getCoreRowModel, useReactTable, type ColumnDef, type Row, type RowData } from '@tanstack/react-table';
import { useVirtualizer } from '@tanstack/react-virtual';
import { memo, useEffect, useMemo, useRef, useState, type KeyboardEvent, type MouseEvent, type ReactNode } from 'react';
import type { Page } from '../api/types';
import { useGo } from '../app/tenant';
import { t } from '../messages/t';
import { ErrorState } from './States';
import { useUrlState } from './url';
import classes from './ServerTable.module.css';

declare module '@tanstack/react-table' {
  // eslint-disable-next-line @typescript-eslint/no-unused-vars
  interface ColumnMeta<TData extends RowData, TValue> {
    /** Width in pixels; a column without one takes what is left. */
    width?: number;
    /** Shown on a phone; the others are there only on wider screens. */
    phone?: boolean;
    /** The server's sort key, when it can sort by this column. */
    sort?: string;
    align?: 'right';
    /** Hidden until somebody chooses it. */
    optional?: boolean;
  }
}

export type Columns<T> = ColumnDef<T>[];

export type Selection = { ids: string[]; clear: () => void };

type Props<T> = {
  /** Names the table where its columns are remembered. */
  id: string;
  /** What the rows are, for screen readers. */
  label: string;
  columns: Columns<T>;
  /** Everything the answer depends on but sort and cursor. */
  queryKey: readonly unknown[];
  fetchPage: (page: { limit: number; cursor?: string; sort?: string }, signal: AbortSignal) => Promise<Page<T>>;
  rowId: (row: T) => string;
  /** Where a row leads, within the portal. */
  rowLink?: (row: T) => string;
  /** Or what a row does. */
  onRow?: (row: T) => void;
  /** Filters, left of the table's own buttons. */
  filters?: ReactNode;
  empty: ReactNode;
  /** With it rows can be selected; it draws what can be done with them. */
  bulk?: (selection: Selection) => ReactNode;
  /** Read anew so often while little is loaded. */
  refreshMs?: number;
  /** The table fills its page and scrolls by itself; else it grows to this height. */
  maxHeight?: number | string;
  pageSize?: number;
};

const ROW_HEIGHT = 38;

/**
 * A table whose rows, order and filters are the server's. It draws only the rows in view and reads on while one
 * scrolls, so that ten thousand rows are as fluent as ten.
 */
export function ServerTable<T>(props: Props<T>) {
  const { id, columns, queryKey, fetchPage, rowId, rowLink, onRow, bulk, refreshMs, pageSize = 100 } = props;
  const [url, setUrl] = useUrlState();
  const go = useGo();
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const sort = url.sort;

  const query = useInfiniteQuery({
    queryKey: [...queryKey, { sort: sort ?? null }],
    queryFn: ({ pageParam, signal }) => fetchPage({ limit: pageSize, ...(pageParam ? { cursor: pageParam } : {}), ...(sort ? { sort } : {}) }, signal),
    initialPageParam: '',
    getNextPageParam: (last: Page<T>) => last.next_cursor || undefined,
    placeholderData: keepPreviousData,
    // Reading fifty pages anew every few seconds would help nobody: only short lists are kept live.
    refetchInterval: (state) => (refreshMs && (state.state.data?.pages.length ?? 0) <= 2 ? refreshMs : false),
  });
  const rows = useMemo(() => {
    // A row that moved between two pages while they were read comes twice: show it once.
    const seen = new Set<string>();
    return (query.data?.pages.flatMap((page) => page.items) ?? []).filter((row) => !seen.has(rowId(row)) && seen.add(rowId(row)));
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [query.data]);
  const total = query.data?.pages[0]?.total ?? undefined;

  const [chosen, setChosen] = useLocalStorage<Record<string, boolean>>({ key: `reeve.columns.${id}`, defaultValue: {}, getInitialValueInEffect: false });
  const shown = useMemo(
    () =>
      columns.filter((column) => {
        const key = column.id ?? '';
        if (phone) return column.meta?.phone;
        return chosen[key] ?? !column.meta?.optional;
      }),
    [columns, chosen, phone],
  );
  const table = useReactTable({ data: rows, columns: shown, getRowId: rowId, getCoreRowModel: getCoreRowModel() });

  const [selected, setSelected] = useState<Set<string>>(() => new Set());
  const selection: Selection = { ids: [...selected], clear: () => setSelected(new Set()) };
  // What is selected belongs to what is filtered: another filter, another selection.
  const filterKey = JSON.stringify(queryKey);
  useEffect(() => setSelected(new Set()), [filterKey]);

  const model = table.getRowModel().rows;
  const scroller = useRef<HTMLDivElement>(null);
  const virtual = useVirtualizer({ count: model.length, getScrollElement: () => scroller.current, estimateSize: () => ROW_HEIGHT, overscan: 12 });
  const items = virtual.getVirtualItems();
  const lastShown = items.at(-1)?.index ?? -1;
  const { hasNextPage, isFetchingNextPage, fetchNextPage, isPlaceholderData } = query;
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage && !isPlaceholderData && model.length > 0 && lastShown >= model.length - 40) void fetchNextPage();
  }, [lastShown, model.length, hasNextPage, isFetchingNextPage, isPlaceholderData, fetchNextPage]);

  const [active, setActive] = useState(0);
  const current = Math.min(active, Math.max(0, model.length - 1));

  function toggle(rowKey: string) {
    setSelected((before) => {
      const next = new Set(before);
      if (!next.delete(rowKey)) next.add(rowKey);
      return next;
    });
  }

  function open(row: T, event?: MouseEvent) {
    const to = rowLink?.(row);
    if (to && event && (event.metaKey || event.ctrlKey)) window.open(to, '_blank', 'noopener');
    else if (to) go(to);
    else onRow?.(row);
  }

  function move(to: number) {
    const index = Math.max(0, Math.min(model.length - 1, to));
    setActive(index);
    virtual.scrollToIndex(index);
    requestAnimationFrame(() => scroller.current?.querySelector<HTMLElement>(`tr[data-index="${index}"]`)?.focus({ preventScroll: true }));
  }

  function onKey(event: KeyboardEvent) {
    const target = event.target as HTMLElement;
    if (target.tagName !== 'TR') return;
    const row = model[current];
    const perPage = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 400) / ROW_HEIGHT) - 2);
    const steps: Record<string, number> = { ArrowDown: current + 1, j: current + 1, ArrowUp: current - 1, k: current - 1, PageDown: current + perPage, PageUp: current - perPage, Home: 0, End: model.length - 1 };
    const to = steps[event.key];
    if (to !== undefined) move(to);
    else if (event.key === 'Enter' && row) open(row.original);
    else if (event.key === ' ' && bulk && row) toggle(row.id);
    else return;
    event.preventDefault();
  }

  // One stable object, so that scrolling draws only the rows that come into view.
  const latest = useRef({ toggle, open, setActive });
  latest.current = { toggle, open, setActive };
  const handlers = useMemo<RowHandlers<T>>(
    () => ({
      toggle: (key) => latest.current.toggle(key),
      open: (row, event) => latest.current.open(row, event),
      focus: (index) => latest.current.setActive(index),
    }),
    [],
  );

  const before = items[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  const width = shown.reduce((sum, column) => sum + (column.meta?.width ?? 160), bulk ? 40 : 0);
  const span = shown.length + (bulk ? 1 : 0);
  const allSelected = model.length > 0 && selected.size >= model.length;
  const clickable = Boolean(rowLink ?? onRow);

  return (
    <div className={classes.frame} data-fill={props.maxHeight === undefined || undefined}>
      <Group className={classes.bar} gap="xs" align="flex-end" wrap="nowrap">
        <div className={classes.filters}>{props.filters}</div>
        <Group gap={2} wrap="nowrap">
          {query.isFetching && !query.isLoading && <Loader size={14} mr={4} aria-label={t('kit.loading')} />}
          <Tooltip label={t('kit.refresh')}>
            <ActionIcon aria-label={t('kit.refresh')} onClick={() => void query.refetch()}>
              <IconRefresh size={16} />
            </ActionIcon>
          </Tooltip>
          {!phone && <ColumnChooser columns={columns} chosen={chosen} onChange={setChosen} />}
        </Group>
      </Group>

      {bulk && selected.size > 0 && (
        <Group className={classes.bulk} gap="sm" role="status">
          <Text size="sm" fw={550}>
            {t('kit.selected', { n: selected.size })}
          </Text>
          {bulk(selection)}
          <Button variant="subtle" color="gray" onClick={selection.clear}>
            {t('kit.clearSelection')}
          </Button>
        </Group>
      )}

      {query.isError && rows.length === 0 ? (
        <ErrorState error={query.error} retry={() => void query.refetch()} />
      ) : (
        <div ref={scroller} className={classes.scroller} style={props.maxHeight === undefined ? undefined : { maxHeight: props.maxHeight }} data-stale={isPlaceholderData || undefined}>
          <table className={classes.table} style={{ minWidth: phone ? undefined : width }} aria-label={props.label} aria-rowcount={total ?? (hasNextPage ? -1 : model.length)} aria-busy={query.isFetching} onKeyDown={onKey}>
            <colgroup>
              {bulk && <col style={{ width: 40 }} />}
              {shown.map((column) => (
                <col key={column.id} style={column.meta?.width && !phone ? { width: column.meta.width } : undefined} />
              ))}
            </colgroup>
            <thead>
              {table.getHeaderGroups().map((group) => (
                <tr key={group.id}>
                  {bulk && (
                    <th scope="col">
                      <Checkbox size="xs" aria-label={t('kit.selectAll')} checked={allSelected} indeterminate={selected.size > 0 && !allSelected} onChange={() => setSelected(allSelected ? new Set() : new Set(model.map((row) => row.id)))} />
                    </th>
                  )}
                  {group.headers.map((header) => (
                    <th key={header.id} scope="col" data-align={header.column.columnDef.meta?.align} aria-sort={ariaSort(sort, header.column.columnDef.meta?.sort)}>
                      <SortHeader sort={sort} by={header.column.columnDef.meta?.sort} onSort={(next) => setUrl({ sort: next })}>
                        {flexRender(header.column.columnDef.header, header.getContext())}
                      </SortHeader>
                    </th>
                  ))}
                </tr>
              ))}
            </thead>
            <tbody>
              {query.isLoading &&
                Array.from({ length: 8 }, (_, i) => (
                  <tr key={i} className={classes.loading}>
                    <td colSpan={span}>
                      <Skeleton height={14} width={`${90 - ((i * 17) % 50)}%`} />
                    </td>
                  </tr>
                ))}
              {before > 0 && <tr style={{ height: before }} aria-hidden />}
              {items.map((item) => {
                const row = model[item.index];
                if (!row) return null;
                return (
                  <BodyRow
                    key={row.id}
                    row={row}
                    columns={shown}
                    index={item.index}
                    selected={bulk ? selected.has(row.id) : undefined}
                    current={item.index === current}
                    clickable={clickable}
                    handlers={handlers}
                  />
                );
              })}
              {after > 0 && <tr style={{ height: after }} aria-hidden />}
            </tbody>
          </table>
          {!query.isLoading && rows.length === 0 && props.empty}
        </div>
      )}

      <Group className={classes.foot} gap="md" justify="space-between" wrap="nowrap">
        <Text size="xs" c="dimmed" className="tnum" aria-live="polite">
          {rows.length > 0 && (typeof total === 'number' ? t('kit.rowsOf', { n: rows.length, total }) : hasNextPage ? t('kit.rowsSoFar', { n: rows.length }) : t('kit.rows', { n: rows.length }))}
        </Text>
        {hasNextPage && (
          <Button variant="subtle" size="compact-xs" loading={isFetchingNextPage} onClick={() => void fetchNextPage()}>
            {t('kit.loadMore')}
          </Button>
        )}
      </Group>
    </div>
  );
}

type RowHandlers<T> = { toggle: (key: string) => void; open: (row: T, event: MouseEvent) => void; focus: (index: number) => void };

type BodyRowProps<T> = {
  row: Row<T>;
  /** The columns shown; only there so that another choice of columns draws the row anew. */
  columns: Columns<T>;
  index: number;
  selected: boolean | undefined;
  current: boolean;
  clickable: boolean;
  handlers: RowHandlers<T>;
};

function PlainBodyRow<T>({ row, index, selected, current, clickable, handlers }: BodyRowProps<T>) {
  return (
    <tr
      data-index={index}
      data-selected={selected || undefined}
      data-clickable={clickable || undefined}
      aria-rowindex={index + 2}
      aria-selected={selected}
      tabIndex={current ? 0 : -1}
      onFocus={() => handlers.focus(index)}
      onClick={(event) => {
        if (clickable && !(event.target as HTMLElement).closest('a,button,input,label')) handlers.open(row.original, event);
      }}
    >
      {selected !== undefined && (
        <td>
          <Checkbox size="xs" aria-label={t('kit.selectRow')} checked={selected} onChange={() => handlers.toggle(row.id)} />
        </td>
      )}
      {row.getVisibleCells().map((cell) => (
        <td key={cell.id} data-align={cell.column.columnDef.meta?.align}>
          <div className="truncate">{flexRender(cell.column.columnDef.cell, cell.getContext())}</div>
        </td>
      ))}
    </tr>
  );
}

const BodyRow = memo(PlainBodyRow) as typeof PlainBodyRow;

function ariaSort(sort: string | undefined, by: string | undefined) {
  if (!by || !sort) return undefined;
  return sort === by ? 'ascending' : sort === `-${by}` ? 'descending' : undefined;
}

function SortHeader({ sort, by, onSort, children }: { sort: string | undefined; by: string | undefined; onSort: (next: string) => void; children: ReactNode }) {
  if (!by) return <span className="truncate">{children}</span>;
  const Symbol = sort === by ? IconChevronUp : sort === `-${by}` ? IconChevronDown : IconSelector;
  return (
    <button type="button" className={classes.sort} onClick={() => onSort(sort === by ? `-${by}` : by)} data-active={sort === by || sort === `-${by}` || undefined}>
      <span className="truncate">{children}</span>
      <Symbol size={13} aria-hidden />
    </button>
  );
}

function ColumnChooser<T>({ columns, chosen, onChange }: { columns: Columns<T>; chosen: Record<string, boolean>; onChange: (next: Record<string, boolean>) => void }) {
  return (
    <Menu closeOnItemClick={false}>
      <Menu.Target>
        <ActionIcon aria-label={t('kit.columns')} title={t('kit.columns')}>
          <IconColumns3 size={16} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{t('kit.columns')}</Menu.Label>
        {columns.map((column, i) => {
          const key = column.id ?? '';
          const on = chosen[key] ?? !column.meta?.optional;
          // The first column names the row and stays.
          return (
            <Menu.Item key={key} disabled={i === 0} onClick={() => onChange({ ...chosen, [key]: !on })} role="menuitemcheckbox" aria-checked={on} leftSection={<Checkbox size="xs" checked={on} readOnly tabIndex={-1} aria-hidden disabled={i === 0} />}>
              {typeof column.header === 'string' ? column.header : key}
            </Menu.Item>
          );
        })}
      </Menu.Dropdown>
    </Menu>
  );
}
