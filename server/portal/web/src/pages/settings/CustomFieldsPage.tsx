import { ActionIcon, Badge, Button, Group } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useCan } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { FilterBar } from '../../kit/FilterBar';
import { Page } from '../../kit/Page';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState } from '../../kit/States';
import { TenantName } from '../../kit/TenantName';
import { useAct } from '../../kit/useAct';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { APPLIES_TO, CustomFieldDialog } from './CustomFieldDialog';

type Field = Schema<'CustomField'>;

/** Fields of one's own on clients, sites and devices. */
export function Component() {
  const [url] = useUrlState();
  const tenant = useTenantId();
  const manages = useCan()('custom_fields.manage');
  const [editing, setEditing] = useState<Field | 'new' | null>(null);
  const query = { ...(tenant ? { tenant_id: tenant } : {}), ...(url.applies_to ? { applies_to: url.applies_to as Field['applies_to'] } : {}) };
  const create = manages && (
    <Button leftSection={<IconPlus size={15} />} onClick={() => setEditing('new')}>
      {t('customFields.create')}
    </Button>
  );
  return (
    <Page fill title={t('nav.customFields')} subtitle={t('customFields.subtitle')} actions={create}>
      <ServerTable<Field>
        id="custom-fields"
        label={t('nav.customFields')}
        columns={manages ? [...columns, actsColumn] : columns}
        queryKey={['custom-fields', 'list', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/custom-fields', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(field) => field.id}
        {...(manages ? { onRow: setEditing } : {})}
        filters={<FilterBar fields={[{ key: 'applies_to', label: t('customFields.appliesTo'), options: APPLIES_TO.map((each) => ({ value: each, label: label('appliesTo', each) })) }]} />}
        empty={
          <EmptyState title={t('customFields.none')} action={create}>
            {t('customFields.noneHint')}
          </EmptyState>
        }
      />
      {editing && <CustomFieldDialog {...(editing === 'new' ? {} : { field: editing })} onClose={() => setEditing(null)} />}
    </Page>
  );
}

const columns: Columns<Field> = [
  { id: 'label', header: t('customFields.label'), meta: { phone: true }, cell: ({ row }) => row.original.label },
  { id: 'key', header: t('customFields.key'), meta: { width: 190 }, cell: ({ row }) => <span className="mono">{row.original.key}</span> },
  { id: 'applies', header: t('customFields.appliesTo'), meta: { width: 110, phone: true }, cell: ({ row }) => label('appliesTo', row.original.applies_to) },
  {
    id: 'type',
    header: t('customFields.type'),
    meta: { width: 130 },
    cell: ({ row: { original: field } }) => (
      <Group gap={6} wrap="nowrap">
        {label('fieldTypes', field.type)}
        {field.type === 'choice' && <Badge color="gray">{field.options.length}</Badge>}
      </Group>
    ),
  },
  { id: 'owner', header: t('customFields.holdsFor'), meta: { width: 170 }, cell: ({ row }) => (row.original.tenant_id === PROVIDER_ID ? t('nav.allTenants') : <TenantName id={row.original.tenant_id} />) },
  { id: 'description', header: t('fields.description'), meta: { width: 260 }, cell: ({ row }) => row.original.description },
];

const actsColumn: Columns<Field>[number] = { id: 'acts', header: '', meta: { width: 50 }, cell: ({ row }) => <DeleteButton field={row.original} /> };

function DeleteButton({ field }: { field: Field }) {
  const confirm = useConfirm();
  const { act, busy } = useAct('custom-fields', 'custom-field-values');
  async function remove() {
    if (!(await confirm({ title: t('customFields.deleteTitle', { name: field.label }), body: t('customFields.deleteBody'), confirm: t('kit.delete'), danger: true, typed: field.key }))) return;
    await act(() => ok(api.DELETE('/api/v1/custom-fields/{id}', { params: { path: { id: field.id } } })), t('customFields.deleted'));
  }
  return (
    <ActionIcon aria-label={t('customFields.deleteTitle', { name: field.label })} disabled={busy} onClick={() => void remove()}>
      <IconTrash size={15} />
    </ActionIcon>
  );
}
