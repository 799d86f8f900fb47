import { Button, Group, NumberInput, Select, SimpleGrid, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconTrash } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useCan, useMe } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { FormDialog } from '../../kit/FormDialog';
import { notifyDone } from '../../kit/notify';
import { DeviceSelect, SiteSelect, TagSelect, TenantSelect } from '../../kit/pickers';
import { useAct } from '../../kit/useAct';
import { useSubmit } from '../../kit/useSubmit';
import { label, t } from '../../messages/t';
import { SCOPES, type EndpointSpec, type Policy, type Scope } from './policy';
import { SpecEditor } from './SpecEditor';

type Values = { name: string; scope: Scope; tenant_id: string; scope_id: string | null; tag: string | null; priority: number; spec: EndpointSpec };

const SHOWN = ['name', 'scope', 'tenant_id', 'scope_id', 'tag', 'priority', 'spec', 'spec.sync_interval_seconds', 'spec.inventory_interval_seconds', 'spec.scripts_allowed'];

/** Makes or changes a policy; where it holds is for good. */
export function PolicyDialog({ policy, onClose }: { policy?: Policy; onClose: () => void }) {
  const me = useMe();
  const tenant = useTenantId();
  const manages = useCan()('policies.manage');
  const client = useQueryClient();
  const form = useForm<Values>({ initialValues: initialOf(policy, tenant ?? (me.is_staff ? undefined : me.tenant_id)) });
  const { busy, error, submit } = useSubmit(form);

  const save = form.onSubmit((values) =>
    submit(async () => {
      const priority = values.scope === 'tag' ? { priority: values.priority } : {};
      if (policy) await ok(api.PATCH('/api/v1/policies/{id}', { params: { path: { id: policy.id } }, body: { version: policy.version, name: values.name, spec: values.spec, ...priority } }));
      else await ok(api.POST('/api/v1/policies', { body: bodyOf(values) }));
      await client.invalidateQueries({ queryKey: ['policies'] });
      notifyDone(t('policies.saved'));
      onClose();
    }),
  );

  return (
    <FormDialog title={policy ? policy.name : t('policies.create')} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={SHOWN} submit={policy ? t('kit.save') : t('kit.create')} disabled={!manages || Object.keys(form.values.spec).length === 0} size="lg">
      <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
      {policy ? (
        <Text size="sm" c="dimmed">
          {t('policies.holdsAt')}: {label('policyScopes', policy.scope)} {policy.scope === 'tag' ? policy.tag : policy.scope_name}
        </Text>
      ) : (
        <Where values={form.values} set={(changes) => form.setValues(changes)} errors={form.errors} staff={me.is_staff} />
      )}
      {form.values.scope === 'tag' && <NumberInput label={t('policies.priority')} description={t('policies.priorityHint')} min={0} max={1000} allowDecimal={false} maw={220} {...form.getInputProps('priority')} />}
      <SpecEditor value={form.values.spec} onChange={(spec) => form.setFieldValue('spec', spec)} errors={form.errors} />
      {policy && manages && <Delete policy={policy} onDone={onClose} />}
    </FormDialog>
  );
}

type WhereProps = { values: Values; set: (changes: Partial<Values>) => void; errors: Record<string, React.ReactNode>; staff: boolean };

function Where({ values, set, errors, staff }: WhereProps) {
  const scopes = staff ? SCOPES : SCOPES.filter((each) => each !== 'provider');
  const within = values.tenant_id === PROVIDER_ID ? undefined : values.tenant_id;
  return (
    <SimpleGrid cols={{ base: 1, sm: 2 }}>
      <Select label={t('policies.holdsAt')} description={t(`policies.at_${values.scope}`)} inputWrapperOrder={['label', 'input', 'description', 'error']} allowDeselect={false} data={scopes.map((each) => ({ value: each, label: label('policyScopes', each) }))} value={values.scope} onChange={(scope) => scope && set({ scope: scope as Scope, scope_id: null, tag: null })} error={errors.scope} />
      {staff && (values.scope === 'tenant' || values.scope === 'site') && <TenantSelect required value={within ?? null} onChange={(id) => set({ tenant_id: id ?? '', scope_id: null })} error={errors.tenant_id} />}
      {staff && values.scope === 'tag' && <TenantSelect label={t('selector.onlyTenant')} clearable value={within || null} onChange={(id) => set({ tenant_id: id ?? PROVIDER_ID })} error={errors.tenant_id} />}
      {values.scope === 'site' && within && <SiteSelect required tenantId={within} value={values.scope_id} onChange={(id) => set({ scope_id: id })} error={errors.scope_id} />}
      {values.scope === 'device' && <DevicePick value={values.scope_id} within={within} set={set} error={errors.scope_id} />}
      {values.scope === 'tag' && <TagSelect required value={values.tag} onChange={(tag) => set({ tag })} error={errors.tag} />}
    </SimpleGrid>
  );
}

/** A device brings its client with it. */
function DevicePick({ value, within, set, error }: { value: string | null; within: string | undefined; set: (changes: Partial<Values>) => void; error: React.ReactNode }) {
  const client = useQueryClient();
  async function choose(id: string | null) {
    set({ scope_id: id });
    if (!id) return;
    const device = await client.fetchQuery({ queryKey: ['devices', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/devices/{id}', { params: { path: { id } }, signal })), staleTime: 60_000 });
    set({ tenant_id: device.tenant_id });
  }
  return <DeviceSelect required value={value} onChange={(id) => void choose(id)} tenantId={value ? undefined : within || undefined} error={error} />;
}

function Delete({ policy, onDone }: { policy: Policy; onDone: () => void }) {
  const confirm = useConfirm();
  const client = useQueryClient();
  const { act, busy } = useAct();
  async function remove() {
    if (!(await confirm({ title: t('policies.deleteTitle', { name: policy.name }), body: t('policies.deleteBody'), confirm: t('kit.delete'), danger: true }))) return;
    const done = await act(async () => {
      await ok(api.DELETE('/api/v1/policies/{id}', { params: { path: { id: policy.id } } }));
      return true;
    }, t('policies.deleted'));
    if (!done) return;
    onDone();
    // Only what is left is read anew: the policy itself is gone.
    await Promise.all(['list', 'effective'].map((part) => client.invalidateQueries({ queryKey: ['policies', part] })));
  }
  return (
    <Group>
      <Button variant="subtle" color="red" leftSection={<IconTrash size={15} />} loading={busy} onClick={() => void remove()}>
        {t('policies.delete')}
      </Button>
    </Group>
  );
}

function initialOf(policy: Policy | undefined, tenant: string | undefined): Values {
  if (!policy) return { name: '', scope: tenant && tenant !== PROVIDER_ID ? 'tenant' : 'provider', tenant_id: tenant ?? PROVIDER_ID, scope_id: null, tag: null, priority: 0, spec: {} };
  return { name: policy.name, scope: policy.scope, tenant_id: policy.tenant_id, scope_id: policy.scope_id ?? null, tag: policy.tag ?? null, priority: policy.priority, spec: policy.spec };
}

function bodyOf({ scope, tenant_id, scope_id, tag, priority, name, spec }: Values): Schema<'PolicyCreate'> {
  return {
    kind: 'endpoint',
    name,
    scope,
    spec: spec as Record<string, unknown>,
    tenant_id: scope === 'provider' ? PROVIDER_ID : tenant_id,
    ...(scope_id && (scope === 'site' || scope === 'device') ? { scope_id } : {}),
    ...(scope === 'tag' ? { ...(tag ? { tag } : {}), priority } : {}),
  };
}
