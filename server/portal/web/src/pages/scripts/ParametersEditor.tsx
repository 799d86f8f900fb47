import { ActionIcon, Button, Checkbox, Paper, Select, SimpleGrid, Stack, TagsInput, Text, TextInput } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { ScriptParameter } from '../../api/types';
import { label, t } from '../../messages/t';

// Secrets cannot be sent to devices yet, so none is offered; one that is there stays.
const TYPES: ScriptParameter['type'][] = ['text', 'number', 'boolean', 'choice'];

type Props = { value: ScriptParameter[]; onChange: (next: ScriptParameter[]) => void; errors: Record<string, ReactNode> };

/** The parameters of a script, in the order in which they are asked for. */
export function ParametersEditor({ value, onChange, errors }: Props) {
  return (
    <Stack gap="sm">
      {value.map((each, i) => {
        const set = (changes: Partial<ScriptParameter>) => onChange(value.map((other, k) => (k === i ? { ...other, ...changes } : other)));
        const error = (field: string) => errors[`parameters.${i}.${field}`];
        return (
          <Paper key={i} withBorder p="sm">
            <SimpleGrid cols={{ base: 1, sm: 3 }} spacing="sm">
              <TextInput label={t('scripts.parameterName')} required pattern="[A-Za-z_][A-Za-z0-9_]*" maxLength={60} classNames={{ input: 'mono' }} description={t('scripts.parameterHint', { name: `REEVE_PARAM_${each.name.toUpperCase()}` })} inputWrapperOrder={['label', 'input', 'description', 'error']} value={each.name} onChange={(event) => set({ name: event.currentTarget.value })} error={error('name')} />
              <TextInput label={t('scripts.parameterLabel')} maxLength={120} value={each.label ?? ''} onChange={(event) => set({ label: event.currentTarget.value })} error={error('label')} />
              <Select label={t('scripts.parameterType')} allowDeselect={false} data={[...new Set([...TYPES, each.type])].map((type) => ({ value: type, label: label('parameterTypes', type) }))} value={each.type} onChange={(type) => type && set({ type: type as ScriptParameter['type'] })} />
              {each.type === 'choice' && <TagsInput label={t('scripts.choices')} required value={each.options ?? []} onChange={(options) => set({ options })} error={error('options')} />}
              {each.type !== 'secret' && <TextInput label={t('scripts.defaultValue')} value={each.default ?? ''} onChange={(event) => set({ default: event.currentTarget.value })} error={error('default')} />}
              <TextInput label={t('fields.description')} maxLength={500} value={each.description ?? ''} onChange={(event) => set({ description: event.currentTarget.value })} error={error('description')} />
            </SimpleGrid>
            <SimpleGrid cols={2} mt="sm">
              <Checkbox label={t('scripts.required')} checked={each.required ?? false} onChange={(event) => set({ required: event.currentTarget.checked })} />
              <ActionIcon ml="auto" aria-label={t('scripts.removeParameter')} onClick={() => onChange(value.filter((_, k) => k !== i))}>
                <IconTrash size={16} />
              </ActionIcon>
            </SimpleGrid>
          </Paper>
        );
      })}
      {value.length === 0 && (
        <Text size="sm" c="dimmed">
          {t('scripts.noParameters')}
        </Text>
      )}
      <div>
        <Button variant="default" leftSection={<IconPlus size={14} />} onClick={() => onChange([...value, { name: '', type: 'text' }])}>
          {t('scripts.addParameter')}
        </Button>
      </div>
    </Stack>
  );
}
