import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { fireEvent, render, screen, waitFor } from '@testing-library/react';
import { MemoryRouter, useLocation } from 'react-router';
import { beforeAll, expect, test, vi } from 'vitest';
import { ServerTable, type Columns } from './ServerTable';

type Row = { id: string; name: string };

const columns: Columns<Row> = [
  { id: 'name', header: 'Name', meta: { sort: 'name', phone: true }, cell: ({ row }) => row.original.name },
  { id: 'other', header: 'Other', meta: { optional: true }, cell: () => 'x' },
];

// jsdom lays nothing out: give the scroller a height, so that the virtual list draws rows.
beforeAll(() => {
  Object.defineProperty(HTMLElement.prototype, 'clientHeight', { configurable: true, get: () => 400 });
  Object.defineProperty(HTMLElement.prototype, 'clientWidth', { configurable: true, get: () => 800 });
});

const address = { current: '' };
function Spy() {
  const { pathname, search } = useLocation();
  address.current = pathname + search;
  return null;
}

function show(fetchPage: Parameters<typeof ServerTable<Row>>[0]['fetchPage'], extra: Partial<Parameters<typeof ServerTable<Row>>[0]> = {}) {
  render(
    <MantineProvider>
      <QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>
        <MemoryRouter initialEntries={['/list?tenant=t1']}>
          <ServerTable<Row> id="test" label="Rows" columns={columns} queryKey={['rows']} fetchPage={fetchPage} rowId={(row) => row.id} rowLink={(row) => `/list/${row.id}`} empty="nothing here" {...extra} />
          <Spy />
        </MemoryRouter>
      </QueryClientProvider>
    </MantineProvider>,
  );
}

const page = (from: number, n: number, next: string | null) => ({ items: Array.from({ length: n }, (_, i) => ({ id: `r${from + i}`, name: `row ${from + i}` })), next_cursor: next, total: 10_000 });

test('ten thousand rows are drawn a screenful at a time', async () => {
  show(() => Promise.resolve(page(0, 10_000, null)));
  await screen.findByText('row 0');
  expect(screen.getAllByRole('row').length).toBeLessThan(60);
  expect(screen.getByRole('table').getAttribute('aria-rowcount')).toBe('10000');
});

test('sorting goes through the address to the server', async () => {
  const fetchPage = vi.fn(() => Promise.resolve(page(0, 3, null)));
  show(fetchPage);
  await screen.findByText('row 0');
  fireEvent.click(screen.getByRole('button', { name: 'Name' }));
  await waitFor(() => expect(fetchPage).toHaveBeenLastCalledWith(expect.objectContaining({ sort: 'name' }), expect.anything()));
  fireEvent.click(screen.getByRole('button', { name: 'Name' }));
  await waitFor(() => expect(fetchPage).toHaveBeenLastCalledWith(expect.objectContaining({ sort: '-name' }), expect.anything()));
  expect(address.current).toBe('/list?tenant=t1&sort=-name');
});

test('the keyboard moves, selects and opens, and the client is kept', async () => {
  show(() => Promise.resolve(page(0, 5, null)), { bulk: ({ ids }) => <output>{ids.join()}</output> });
  const first = (await screen.findByText('row 0')).closest('tr')!;
  first.focus();
  fireEvent.keyDown(first, { key: 'ArrowDown' });
  const second = screen.getByText('row 1').closest('tr')!;
  await waitFor(() => expect(document.activeElement).toBe(second));
  fireEvent.keyDown(second, { key: ' ' });
  expect(screen.getByText('r1')).toBeTruthy();
  fireEvent.keyDown(second, { key: 'Enter' });
  await waitFor(() => expect(address.current).toBe('/list/r1?tenant=t1'));
});

test('an empty list says so, a refused one says why', async () => {
  show(() => Promise.resolve({ items: [], next_cursor: null }));
  await screen.findByText('nothing here');
});

test('a list that cannot be read names the request', async () => {
  show(() => Promise.reject(Object.assign(new Error('x'), { type: '/problems/forbidden', title: 'Not permitted', status: 403, request_id: 'req-7' })));
  await screen.findByText('Not permitted');
  expect(screen.getByText('req-7')).toBeTruthy();
});
