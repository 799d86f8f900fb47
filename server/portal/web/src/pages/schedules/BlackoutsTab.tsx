import { ActionIcon, Button, Group, Modal, SegmentedControl, SimpleGrid, Stack, Text, TextInput, Textarea, Tooltip } from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useMemo, useState } from 'react';
import { api, ok } from '../../api/client';
import type { Recurrence, Schema } from '../../api/types';
import { PROVIDER_ID, useCan, useMe } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { DurationInput } from '../../kit/DurationInput';
import { duration } from '../../kit/format';
import { notifyDone } from '../../kit/notify';
import { TenantSelect, ZoneSelect, browserZone } from '../../kit/pickers';
import { describe, newRecurrence } from '../../kit/recurrence';
import { LocalTime, RecurrenceEditor } from '../../kit/RecurrenceEditor';
import { ServerTable, type Columns } from '../../kit/ServerTable';
import { EmptyState, FormErrors } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TenantName } from '../../kit/TenantName';
import { useAct } from '../../kit/useAct';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

type Blackout = Schema<'Blackout'>;

function when(blackout: Blackout): string {
  if (blackout.recurrence) return `${describe(blackout.recurrence)} · ${duration(blackout.duration_seconds ?? 0)}`;
  return `${blackout.starts_local?.replace('T', ' ') ?? ''} – ${blackout.ends_local?.replace('T', ' ') ?? ''}`;
}

const columns = (canManage: boolean): Columns<Blackout> => [
  { id: 'name', header: t('fields.name'), meta: { phone: true }, cell: ({ row }) => <Text inherit fw={550} span>{row.original.name}</Text> },
  { id: 'active', header: t('fields.state'), meta: { width: 110, phone: true }, cell: ({ row }) => (row.original.active ? <StateBadge state="active" hint={t('schedules.blackoutActive')} /> : '–') },
  { id: 'when', header: t('recurrence.label'), meta: { width: 320 }, cell: ({ row }) => when(row.original) },
  { id: 'zone', header: t('fields.zone'), meta: { width: 150 }, cell: ({ row }) => row.original.zone },
  { id: 'tenant', header: t('schedules.owner'), meta: { width: 170 }, cell: ({ row }) => (row.original.tenant_id === PROVIDER_ID ? t('scripts.forAll') : <TenantName id={row.original.tenant_id} />) },
  { id: 'reason', header: t('kit.reason'), meta: { width: 200 }, cell: ({ row }) => row.original.reason },
  ...(canManage ? ([{ id: 'acts', header: '', meta: { width: 56, phone: true }, cell: ({ row }) => <DeleteButton blackout={row.original} /> }] satisfies Columns<Blackout>) : []),
];

function DeleteButton({ blackout }: { blackout: Blackout }) {
  const confirm = useConfirm();
  const { act, busy } = useAct('blackouts');
  async function remove() {
    if (await confirm({ title: t('schedules.blackoutDelete'), body: blackout.name, confirm: t('kit.delete'), danger: true })) {
      await act(() => ok(api.DELETE('/api/v1/blackouts/{id}', { params: { path: { id: blackout.id } } })));
    }
  }
  return (
    <Tooltip label={t('kit.delete')}>
      <ActionIcon aria-label={t('kit.delete')} disabled={busy} onClick={() => void remove()}>
        <IconTrash size={15} />
      </ActionIcon>
    </Tooltip>
  );
}

/** Change freezes. */
export function BlackoutsTab() {
  const tenant = useTenantId();
  const can = useCan();
  const [creating, setCreating] = useState(false);
  const list = useMemo(() => columns(can('schedules.manage')), [can]);
  const query = tenant ? { tenant_id: tenant } : {};
  return (
    <>
      <ServerTable<Blackout>
        id="blackouts"
        label={t('schedules.blackouts')}
        columns={list}
        queryKey={['blackouts', query]}
        fetchPage={({ limit, cursor }, signal) => ok(api.GET('/api/v1/blackouts', { params: { query: { ...query, limit, ...(cursor ? { cursor } : {}) } }, signal }))}
        rowId={(blackout) => blackout.id}
        filters={
          can('schedules.manage') && (
            <Button leftSection={<IconPlus size={15} />} onClick={() => setCreating(true)}>
              {t('schedules.blackoutCreate')}
            </Button>
          )
        }
        empty={<EmptyState title={t('schedules.blackoutNone')}>{t('schedules.blackoutHint')}</EmptyState>}
      />
      {creating && <BlackoutDialog onClose={() => setCreating(false)} />}
    </>
  );
}

type Values = { tenant_id: string; name: string; reason: string; zone: string; kind: 'once' | 'recurs'; starts_local: string; ends_local: string; recurrence: Recurrence; duration_seconds: number | undefined };

function BlackoutDialog({ onClose }: { onClose: () => void }) {
  const me = useMe();
  const tenant = useTenantId();
  const client = useQueryClient();
  const form = useForm<Values>({
    initialValues: { tenant_id: tenant ?? me.tenant_id, name: '', reason: '', zone: browserZone(), kind: 'once', starts_local: '', ends_local: '', recurrence: newRecurrence('cron'), duration_seconds: 3_600 },
  });
  const { busy, error, submit } = useSubmit(form);

  const save = form.onSubmit(({ kind, starts_local, ends_local, recurrence, duration_seconds, ...rest }) =>
    submit(async () => {
      const span = kind === 'once' ? { starts_local, ends_local } : { recurrence, ...(duration_seconds ? { duration_seconds } : {}) };
      await ok(api.POST('/api/v1/blackouts', { body: { ...rest, ...span } }));
      await client.invalidateQueries({ queryKey: ['blackouts'] });
      notifyDone(t('kit.saved'));
      onClose();
    }),
  );

  return (
    <Modal opened onClose={onClose} title={<Text fw={600}>{t('schedules.blackoutCreate')}</Text>} size="lg">
      <form onSubmit={save}>
        <Stack gap="md">
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
            {me.is_staff && <TenantSelect label={t('schedules.owner')} withProvider required value={form.values.tenant_id} onChange={(id) => form.setFieldValue('tenant_id', id ?? me.tenant_id)} error={form.errors.tenant_id} />}
          </SimpleGrid>
          <ZoneSelect required value={form.values.zone} onChange={(zone) => zone && form.setFieldValue('zone', zone)} error={form.errors.zone} />
          <SegmentedControl
            aria-label={t('recurrence.kind')}
            value={form.values.kind}
            onChange={(kind) => form.setFieldValue('kind', kind as Values['kind'])}
            data={[
              { value: 'once', label: t('schedules.blackoutOnce') },
              { value: 'recurs', label: t('schedules.blackoutRecurs') },
            ]}
          />
          {form.values.kind === 'once' ? (
            <Group>
              <LocalTime label={t('schedules.blackoutStarts')} value={form.values.starts_local} onChange={(local) => form.setFieldValue('starts_local', local)} error={form.errors.starts_local} />
              <LocalTime label={t('schedules.blackoutEnds')} value={form.values.ends_local} onChange={(local) => form.setFieldValue('ends_local', local)} error={form.errors.ends_local} />
            </Group>
          ) : (
            <>
              <RecurrenceEditor label={t('schedules.blackoutStarts')} value={form.values.recurrence} onChange={(recurrence) => form.setFieldValue('recurrence', recurrence)} />
              <DurationInput label={t('schedules.blackoutLength')} required min={60} value={form.values.duration_seconds} onChange={(seconds) => form.setFieldValue('duration_seconds', seconds)} error={form.errors.duration_seconds} />
            </>
          )}
          <Textarea label={t('kit.reasonOptional')} maxLength={1000} autosize minRows={2} {...form.getInputProps('reason')} />
          <FormErrors error={error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('kit.cancel')}
            </Button>
            <Button type="submit" loading={busy}>
              {t('kit.create')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
