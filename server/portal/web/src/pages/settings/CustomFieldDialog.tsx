import { Select, SimpleGrid, TagsInput, TextInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useMe } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { FormDialog } from '../../kit/FormDialog';
import { notifyDone } from '../../kit/notify';
import { TenantSelect } from '../../kit/pickers';
import { useSubmit } from '../../kit/useSubmit';
import { label, t } from '../../messages/t';

type Field = Schema<'CustomField'>;

export const APPLIES_TO: Field['applies_to'][] = ['device', 'site', 'tenant'];
const TYPES: Field['type'][] = ['text', 'number', 'boolean', 'date', 'choice', 'url', 'secret'];

/** "Asset number" → "asset_number": what a filter or a program calls the field. */
export const keyOf = (text: string) =>
  text
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .replaceAll('ß', 'ss')
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^[^a-z]+|_+$/g, '')
    .slice(0, 60);

/** Defines a field, or changes what may change: key, type and place are for good, because values hang on them. */
export function CustomFieldDialog({ field, onClose }: { field?: Field; onClose: () => void }) {
  const me = useMe();
  const tenant = useTenantId();
  const client = useQueryClient();
  const [ownKey, setOwnKey] = useState(false);
  const form = useForm({
    initialValues: {
      label: field?.label ?? '',
      key: field?.key ?? '',
      applies_to: field?.applies_to ?? ('device' as Field['applies_to']),
      type: field?.type ?? ('text' as Field['type']),
      options: field?.options ?? [],
      description: field?.description ?? '',
      tenant_id: field?.tenant_id ?? tenant ?? (me.is_staff ? PROVIDER_ID : me.tenant_id),
    },
  });
  const { busy, error, submit } = useSubmit(form);
  const save = form.onSubmit(({ options, ...values }) =>
    submit(async () => {
      const choices = values.type === 'choice' ? { options } : {};
      if (field) await ok(api.PATCH('/api/v1/custom-fields/{id}', { params: { path: { id: field.id } }, body: { version: field.version, label: values.label, description: values.description, ...choices } }));
      else await ok(api.POST('/api/v1/custom-fields', { body: { ...values, ...choices } }));
      await Promise.all(['custom-fields', 'custom-field-values'].map((key) => client.invalidateQueries({ queryKey: [key] })));
      notifyDone(t('kit.saved'));
      onClose();
    }),
  );

  function rename(next: string) {
    form.setFieldValue('label', next);
    if (!field && !ownKey) form.setFieldValue('key', keyOf(next));
  }

  return (
    <FormDialog title={field ? t('customFields.edit') : t('customFields.create')} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={Object.keys(form.values)} submit={field ? t('kit.save') : t('kit.create')}>
      <TextInput label={t('customFields.label')} required maxLength={120} {...form.getInputProps('label')} onChange={(event) => rename(event.currentTarget.value)} data-autofocus />
      {!field && (
        <>
          <TextInput
            label={t('customFields.key')}
            description={t('customFields.keyHint')}
            required
            maxLength={60}
            pattern="[a-z][a-z0-9_]*"
            classNames={{ input: 'mono' }}
            {...form.getInputProps('key')}
            onChange={(event) => {
              setOwnKey(true);
              form.setFieldValue('key', event.currentTarget.value);
            }}
          />
          <SimpleGrid cols={2}>
            <Select label={t('customFields.appliesTo')} allowDeselect={false} data={APPLIES_TO.map((each) => ({ value: each, label: label('appliesTo', each) }))} {...form.getInputProps('applies_to')} />
            <Select label={t('customFields.type')} allowDeselect={false} data={TYPES.map((each) => ({ value: each, label: label('fieldTypes', each) }))} {...form.getInputProps('type')} />
          </SimpleGrid>
          {me.is_staff && <TenantSelect label={t('customFields.holdsFor')} description={t('customFields.holdsForHint')} withProvider required value={form.values.tenant_id} onChange={(id) => form.setFieldValue('tenant_id', id ?? PROVIDER_ID)} error={form.errors.tenant_id} />}
        </>
      )}
      {form.values.type === 'choice' && <TagsInput label={t('customFields.options')} description={t('customFields.optionsHint')} required value={form.values.options} onChange={(options) => form.setFieldValue('options', options)} error={form.errors.options} />}
      <Textarea label={t('fields.description')} autosize minRows={2} maxLength={1000} {...form.getInputProps('description')} />
    </FormDialog>
  );
}
