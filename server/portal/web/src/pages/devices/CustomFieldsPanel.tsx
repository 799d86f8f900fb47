import { Anchor, Button, Checkbox, Group, NumberInput, PasswordInput, Select, SimpleGrid, Stack, TextInput } from '@mantine/core';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useCan } from '../../app/me';
import { notifyDone } from '../../kit/notify';
import { Facts, Panel } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

type Value = Schema<'CustomFieldValue'>;
type ObjectType = 'tenant' | 'site' | 'device';

/** The custom fields of a tenant, site or device; absent when there are none. */
export function CustomFieldsPanel({ objectType, objectId }: { objectType: ObjectType; objectId: string }) {
  const can = useCan();
  const [editing, setEditing] = useState(false);
  const path = { object_type: objectType, object_id: objectId };
  const values = useQuery({
    queryKey: ['custom-field-values', objectType, objectId],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/custom-field-values/{object_type}/{object_id}', { params: { path }, signal })),
    enabled: can('custom_fields.read'),
  });
  const items = values.data?.items ?? [];
  if (items.length === 0) return null;
  return (
    <Panel
      title={t('nav.customFields')}
      actions={
        can('custom_fields.write') &&
        !editing && (
          <Button variant="subtle" size="compact-xs" onClick={() => setEditing(true)}>
            {t('kit.edit')}
          </Button>
        )
      }
    >
      {editing ? <Editor items={items} path={path} onClose={() => setEditing(false)} /> : <Facts items={items.map((each) => [each.label, <Shown key={each.key} value={each} />] as const)} />}
    </Panel>
  );
}

function Shown({ value }: { value: Value }) {
  if (!value.is_set) return <>–</>;
  if (value.type === 'secret') return <>••••••</>;
  if (value.type === 'boolean') return <>{value.value === true ? t('kit.yes') : t('kit.no')}</>;
  const text = plain(String(value.value));
  if (value.type === 'url' && /^https?:\/\//.test(text)) {
    return (
      <Anchor href={text} target="_blank" rel="noopener noreferrer" inherit>
        {text}
      </Anchor>
    );
  }
  return <>{text}</>;
}

function Editor({ items, path, onClose }: { items: Value[]; path: { object_type: ObjectType; object_id: string }; onClose: () => void }) {
  const [changed, setChanged] = useState<Record<string, unknown>>({});
  const client = useQueryClient();
  const { busy, error, submit } = useSubmit();

  function send(event: FormEvent) {
    event.preventDefault();
    void submit(async () => {
      await ok(api.PUT('/api/v1/custom-field-values/{object_type}/{object_id}', { params: { path }, body: { values: changed } }));
      await client.invalidateQueries({ queryKey: ['custom-field-values'] });
      notifyDone(t('kit.saved'));
      onClose();
    });
  }

  return (
    <form onSubmit={send}>
      <Stack gap="md">
        <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }}>
          {items.map((each) => (
            <Input key={each.key} field={each} value={each.key in changed ? changed[each.key] : each.value} onChange={(value) => setChanged((before) => ({ ...before, [each.key]: value === '' ? null : value }))} />
          ))}
        </SimpleGrid>
        <FormErrors error={error} />
        <Group>
          <Button type="submit" loading={busy} disabled={Object.keys(changed).length === 0}>
            {t('kit.save')}
          </Button>
          <Button variant="default" onClick={onClose}>
            {t('kit.cancel')}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}

function Input({ field, value, onChange }: { field: Value; value: unknown; onChange: (value: unknown) => void }) {
  const text = value === null || value === undefined ? '' : String(value);
  switch (field.type) {
    case 'boolean':
      return <Checkbox label={field.label} checked={value === true} onChange={(event) => onChange(event.currentTarget.checked)} mt="xl" />;
    case 'number':
      return <NumberInput label={field.label} value={text} onChange={(next) => onChange(next === '' ? '' : Number(next))} />;
    case 'choice':
      return <Select label={field.label} data={field.options} value={text || null} onChange={(next) => onChange(next ?? '')} clearable />;
    case 'date':
      return <TextInput type="date" label={field.label} value={text} onChange={(event) => onChange(event.currentTarget.value)} />;
    case 'secret':
      return <PasswordInput label={field.label} placeholder={field.is_set ? '••••••' : ''} autoComplete="off" onChange={(event) => onChange(event.currentTarget.value)} />;
    default:
      return <TextInput label={field.label} value={text} onChange={(event) => onChange(event.currentTarget.value)} />;
  }
}
