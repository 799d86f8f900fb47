import { Alert, Anchor, Checkbox, Collapse, Group, NumberInput, PasswordInput, SegmentedControl, Select, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema, ScriptParameter } from '../../api/types';
import { CodeBlock } from '../../kit/Copy';
import { CodeInput } from '../../kit/CodeInput';
import { DurationInput } from '../../kit/DurationInput';
import { ScriptSelect } from '../../kit/pickers';
import { label, t } from '../../messages/t';
import { newWork, sourceOf, type Source, type Work } from './work';

export const INTERPRETERS: Schema<'Interpreter'>[] = ['bash', 'sh', 'python3', 'powershell', 'pwsh', 'cmd'];

export const scriptQuery = (id: string | undefined) => ({
  queryKey: ['scripts', id ?? ''],
  queryFn: ({ signal }: { signal: AbortSignal }) => ok(api.GET('/api/v1/scripts/{id}', { params: { path: { id: id ?? '' } }, signal })),
  enabled: Boolean(id),
});

/** Says what is to be done: a script of the library, one written here, or collecting the inventory. */
export function WorkEditor({ value, onChange, errors = {} }: { value: Work; onChange: (work: Work) => void; errors?: Record<string, string> }) {
  const source = sourceOf(value);
  const payload = (changes: Work['payload']) => onChange({ ...value, payload: { ...value.payload, ...changes } });
  return (
    <Stack gap="sm">
      <SegmentedControl
        fullWidth
        aria-label={t('jobs.what')}
        value={source}
        onChange={(next) => onChange(newWork(next as Source))}
        data={[
          { value: 'library', label: t('jobs.fromLibrary') },
          { value: 'written', label: t('jobs.writeNow') },
          { value: 'inventory', label: t('jobs.collectInventory') },
        ]}
      />
      {source === 'library' && <FromLibrary value={value} payload={payload} errors={errors} />}
      {source === 'written' && (
        <>
          <Select label={t('scripts.interpreter')} allowDeselect={false} maw={240} data={INTERPRETERS.map((each) => ({ value: each, label: label('interpreters', each) }))} value={value.payload.interpreter ?? 'bash'} onChange={(next) => next && payload({ interpreter: next as Schema<'Interpreter'> })} />
          <CodeInput label={t('scripts.body')} required value={value.payload.script ?? ''} onChange={(script) => payload({ script })} error={errors['payload.script']} minRows={8} />
        </>
      )}
      {source === 'inventory' && (
        <Text size="sm" c="dimmed">
          {t('jobs.inventoryHint')}
        </Text>
      )}
      {source !== 'inventory' && <RunOptions value={value} payload={payload} />}
    </Stack>
  );
}

type Part = { value: Work; payload: (changes: Work['payload']) => void };

function FromLibrary({ value, payload, errors }: Part & { errors: Record<string, string> }) {
  const script = useQuery(scriptQuery(value.payload.script_id));
  const [shown, { toggle }] = useDisclosure();
  return (
    <>
      <ScriptSelect required value={value.payload.script_id || null} onChange={(id) => payload({ script_id: id ?? '', parameters: {} })} error={errors['payload.script_id']} />
      {script.data && value.payload.script_id && (
        <>
          <Group justify="space-between" gap="xs">
            <Text size="xs" c="dimmed" flex={1}>
              {label('interpreters', script.data.interpreter)} · {t('scripts.number', { n: script.data.number })}
              {script.data.description && ` · ${script.data.description}`}
            </Text>
            <Anchor component="button" type="button" size="xs" onClick={toggle}>
              {shown ? t('scripts.hideBody') : t('scripts.showBody')}
            </Anchor>
          </Group>
          <Collapse expanded={shown}>
            <CodeBlock code={script.data.body} label={t('scripts.body')} maxHeight={220} />
          </Collapse>
          {script.data.parameters.length > 0 && (
            <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
              {script.data.parameters.map((each) => (
                <ParameterInput key={each.name} parameter={each} value={value.payload.parameters?.[each.name]} error={errors[`payload.parameters.${each.name}`]} onChange={(next) => payload({ parameters: { ...value.payload.parameters, [each.name]: next } })} />
              ))}
            </SimpleGrid>
          )}
        </>
      )}
    </>
  );
}

export function ParameterInput({ parameter, value, onChange, error }: { parameter: ScriptParameter; value: string | undefined; onChange: (value: string) => void; error?: string | undefined }) {
  const name = parameter.label || parameter.name;
  const common = { label: name, description: parameter.description, required: parameter.required ?? false, error };
  const current = value ?? parameter.default ?? '';
  switch (parameter.type) {
    case 'boolean':
      return <Checkbox label={name} description={parameter.description} checked={current === 'true'} onChange={(event) => onChange(String(event.currentTarget.checked))} error={error} mt="lg" />;
    case 'choice':
      return <Select {...common} data={parameter.options ?? []} value={current || null} onChange={(next) => onChange(next ?? '')} clearable={!parameter.required} />;
    case 'number':
      return <NumberInput {...common} value={current} onChange={(next) => onChange(String(next))} />;
    case 'secret':
      return <PasswordInput {...common} autoComplete="off" value={value ?? ''} onChange={(event) => onChange(event.currentTarget.value)} />;
    case 'text':
      return <TextInput {...common} value={current} onChange={(event) => onChange(event.currentTarget.value)} />;
  }
}

function RunOptions({ value, payload }: Part) {
  const [shown, { toggle }] = useDisclosure(value.payload.run_as === 'logged_in_user');
  return (
    <div>
      <Anchor component="button" type="button" size="xs" onClick={toggle} aria-expanded={shown}>
        {t('jobs.options')}
      </Anchor>
      <Collapse expanded={shown}>
        <Group gap="md" align="flex-start" mt="xs">
          <DurationInput label={t('scripts.timeout')} min={1} max={86_400} value={value.payload.timeout_seconds} onChange={(seconds) => payload({ timeout_seconds: seconds })} />
          <Select
            label={t('scripts.runAs')}
            clearable
            placeholder={t('jobs.asScript')}
            data={(['system', 'logged_in_user'] as const).map((each) => ({ value: each, label: label('runAs', each) }))}
            value={value.payload.run_as ?? null}
            onChange={(next) => payload({ run_as: (next ?? undefined) as Schema<'RunAs'> | undefined })}
            w={220}
          />
        </Group>
        {value.payload.run_as === 'logged_in_user' && (
          <Alert color="yellow" mt="xs" py={6}>
            {t('jobs.loggedInHint')}
          </Alert>
        )}
      </Collapse>
    </div>
  );
}
