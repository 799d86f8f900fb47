import { Button, TextInput } from '@mantine/core';
import { DatePickerInput } from '@mantine/dates';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconShieldCheck } from '@tabler/icons-react';
import { useEffect, useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import type { operations } from '../../api/schema.gen';
import { useTenantId } from '../../app/tenant';
import { FilterBar } from '../../kit/FilterBar';
import { Page } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { TimeAgo } from '../../kit/TimeAgo';
import { useUrlState, type UrlValues } from '../../kit/url';
import { label, t } from '../../messages/t';
import { EntryDrawer } from './EntryDrawer';
import { VerifyDialog } from './VerifyDialog';

type Entry = Schema<'AuditEntry'>;
type Query = NonNullable<operations['listAudit']['parameters']['query']>;

const OBJECTS = ['api_key', 'approval', 'audit', 'blackout', 'custom_field', 'device', 'enrolment_token', 'job', 'policy', 'saved_filter', 'schedule', 'script', 'session', 'settings', 'site', 'task', 'tenant', 'user'];

const columns: Columns<Entry> = [
  { id: 'at', header: t('audit.when'), meta: { width: 120, phone: true }, cell: ({ row }) => <TimeAgo at={row.original.at} /> },
  { id: 'actor', header: t('audit.who'), meta: { width: 200 }, cell: ({ row }) => plain(row.original.actor_name) },
  { id: 'action', header: t('audit.action'), meta: { width: 240, phone: true }, cell: ({ row }) => actionText(row.original.action) },
  {
    id: 'object',
    header: t('audit.object'),
    cell: ({ row: { original: entry } }) => (
      <>
        {label('objectTypes', entry.object_type)} {entry.object_name && <b>{plain(entry.object_name)}</b>}
      </>
    ),
  },
  { id: 'address', header: t('profile.addresses'), meta: { width: 150 }, cell: ({ row }) => <span className="mono">{row.original.address}</span> },
  { id: 'number', header: t('audit.number'), meta: { width: 90, align: 'right', optional: true }, cell: ({ row }) => row.original.number },
];

const actionText = (action: string) => label('auditActions', action);

/** Who did what, when and from where; every entry is chained to the one before. */
export function Component() {
  const [url] = useUrlState();
  const tenant = useTenantId();
  const [chosen, setChosen] = useState<Entry | null>(null);
  const [verifying, setVerifying] = useState(false);
  const query = queryOf(url, tenant);
  return (
    <Page
      fill
      title={t('nav.audit')}
      actions={
        <Button variant="default" leftSection={<IconShieldCheck size={15} />} onClick={() => setVerifying(true)}>
          {t('audit.verify')}
        </Button>
      }
    >
      <ServerTable<Entry>
        id="audit"
        label={t('nav.audit')}
        columns={columns}
        queryKey={['audit', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/audit', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(entry) => `${entry.tenant_id}.${entry.number}`}
        onRow={setChosen}
        filters={
          <FilterBar search="actor" searchLabel={t('audit.searchActor')} also={['action', 'from', 'to', 'actor_id', 'object_id']} fields={[{ key: 'object_type', label: t('audit.object'), options: OBJECTS.map((each) => ({ value: each, label: label('objectTypes', each) })) }]}>
            <HeldInput name="action" label={t('audit.action')} width={150} />
            <HeldDay name="from" label={t('audit.from')} />
            <HeldDay name="to" label={t('audit.to')} />
          </FilterBar>
        }
        empty={<EmptyState title={t('audit.none')}>{t('audit.noneHint')}</EmptyState>}
      />
      {chosen && <EntryDrawer entry={chosen} onClose={() => setChosen(null)} />}
      {verifying && <VerifyDialog {...(tenant ? { tenantId: tenant } : {})} onClose={() => setVerifying(false)} />}
    </Page>
  );
}

/** A filter that lives in the address; typing is written there after a moment. */
function HeldInput({ name, label: text, width }: { name: string; label: string; width: number }) {
  const [url, setUrl] = useUrlState();
  const held = url[name] ?? '';
  const [value, setValue] = useState(held);
  useEffect(() => setValue(held), [held]);
  const push = useDebouncedCallback((next: string) => setUrl({ [name]: next.trim() || undefined }), 250);
  return (
    <TextInput
      size="xs"
      w={width}
      aria-label={text}
      placeholder={text}
      value={value}
      onChange={(event) => {
        setValue(event.currentTarget.value);
        push(event.currentTarget.value);
      }}
    />
  );
}

function HeldDay({ name, label: text }: { name: string; label: string }) {
  const [url, setUrl] = useUrlState();
  return <DatePickerInput size="xs" w={135} clearable aria-label={text} placeholder={text} valueFormat="YYYY-MM-DD" value={url[name] ?? null} onChange={(day) => setUrl({ [name]: day ?? undefined })} />;
}

/** The filters as the API takes them; days are the reader's own, and the last one counts whole. */
function queryOf(url: UrlValues, tenant: string | undefined): Query {
  const query: Record<string, string> = {};
  if (tenant) query.tenant_id = tenant;
  for (const key of ['actor', 'actor_id', 'action', 'object_type', 'object_id'] as const) {
    const value = url[key];
    if (value) query[key] = value;
  }
  const from = dayOf(url.from);
  const to = dayOf(url.to);
  if (from) query.from = from.toISOString();
  if (to) query.to = new Date(to.getFullYear(), to.getMonth(), to.getDate() + 1).toISOString();
  return query as Query;
}

function dayOf(text: string | undefined): Date | undefined {
  const parts = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text ?? '');
  return parts ? new Date(Number(parts[1]), Number(parts[2]) - 1, Number(parts[3])) : undefined;
}
