import { Badge, Button, Group, Switch } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { api, ok } from '../../api/client';
import type { Schema, Script } from '../../api/types';
import { PROVIDER_ID, useCan } from '../../app/me';
import { useGo } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Link } from '../../kit/Link';
import { Page } from '../../kit/Page';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { TenantName } from '../../kit/TenantName';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';

type Platform = Schema<'OsFamily'>;

const columns: Columns<Script> = [
  {
    id: 'name',
    header: t('fields.name'),
    meta: { phone: true },
    cell: ({ row: { original: script } }) => (
      <Link to={`/scripts/${script.id}`} fw={550} c="inherit">
        {script.name}
      </Link>
    ),
  },
  { id: 'description', header: t('fields.description'), meta: { width: 320 }, cell: ({ row }) => row.original.description },
  { id: 'interpreter', header: t('scripts.interpreter'), meta: { width: 140, phone: true }, cell: ({ row }) => label('interpreters', row.original.interpreter) },
  {
    id: 'platforms',
    header: t('scripts.platforms'),
    meta: { width: 190 },
    cell: ({ row }) => (
      <Group gap={4} wrap="nowrap">
        {row.original.platforms.map((each) => (
          <Badge key={each} color="gray">
            {label('os', each)}
          </Badge>
        ))}
      </Group>
    ),
  },
  { id: 'owner', header: t('scripts.owner'), meta: { width: 150 }, cell: ({ row }) => (row.original.tenant_id === PROVIDER_ID ? t('scripts.forAll') : <TenantName id={row.original.tenant_id} />) },
  { id: 'version', header: t('fields.version'), meta: { width: 80, align: 'right' }, cell: ({ row }) => row.original.number },
  { id: 'updated', header: t('fields.updated'), meta: { width: 120 }, cell: ({ row }) => <TimeAgo at={row.original.updated_at} /> },
];

export function Component() {
  const [url, setUrl] = useUrlState();
  const can = useCan();
  const go = useGo();
  const archived = url.archived === 'true';
  const query = { archived, ...(url.q ? { q: url.q } : {}), ...(url.platform ? { platform: url.platform as Platform } : {}) };
  const create = can('scripts.manage') && (
    <Button leftSection={<IconPlus size={15} />} onClick={() => go('/scripts/new')}>
      {t('scripts.create')}
    </Button>
  );
  return (
    <Page fill title={t('scripts.title')} actions={create}>
      <ServerTable<Script>
        id="scripts"
        label={t('scripts.title')}
        columns={columns}
        queryKey={['scripts', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/scripts', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(script) => script.id}
        rowLink={(script) => `/scripts/${script.id}`}
        filters={
          <FilterBar search="q" searchLabel={t('scripts.search')} fields={[{ key: 'platform', label: t('scripts.platforms'), options: (['linux', 'windows', 'darwin'] satisfies Platform[]).map((each) => ({ value: each, label: label('os', each) })) }]}>
            <Switch size="xs" label={t('scripts.showArchived')} checked={archived} onChange={(event) => setUrl({ archived: event.currentTarget.checked ? 'true' : undefined })} />
          </FilterBar>
        }
        empty={
          <EmptyState title={t('scripts.none')} action={create}>
            {t('scripts.noneHint')}
          </EmptyState>
        }
      />
    </Page>
  );
}
