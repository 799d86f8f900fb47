import { Button, Group, MultiSelect, Select, SimpleGrid, Stack, TextInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Schema, Script } from '../../api/types';
import { PROVIDER_ID, useMe } from '../../app/me';
import { useGo, useTenantId } from '../../app/tenant';
import { CodeInput } from '../../kit/CodeInput';
import { DurationInput } from '../../kit/DurationInput';
import { notifyDone } from '../../kit/notify';
import { Page, Panel } from '../../kit/Page';
import { TenantSelect } from '../../kit/pickers';
import { ErrorState, FormErrors, PageSkeleton } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { label, t } from '../../messages/t';
import { INTERPRETERS, scriptQuery } from '../jobs/WorkEditor';
import { ParametersEditor } from './ParametersEditor';

type Values = Omit<Schema<'ScriptCreate'>, 'parameters' | 'tenant_id'> & { parameters: Schema<'ScriptParameter'>[]; tenant_id: string };

const PLATFORMS: Schema<'OsFamily'>[] = ['linux', 'windows', 'darwin'];

/** Makes a script, or a new version of one. */
export function Component() {
  const { id } = useParams();
  const script = useQuery(scriptQuery(id));
  if (script.isError) return <ErrorState error={script.error} retry={() => void script.refetch()} />;
  if (id && !script.data) {
    return (
      <Page title={t('scripts.editTitle')} narrow>
        <PageSkeleton />
      </Page>
    );
  }
  return <Editor key={id ?? 'new'} script={script.data} />;
}

function Editor({ script }: { script: Script | undefined }) {
  const me = useMe();
  const tenant = useTenantId();
  const go = useGo();
  const client = useQueryClient();
  const form = useForm<Values>({ initialValues: initialOf(script, me.is_staff ? (tenant ?? PROVIDER_ID) : me.tenant_id) });
  const { busy, error, submit } = useSubmit(form);
  const textChanged = script !== undefined && (form.isDirty('body') || form.isDirty('interpreter') || form.isDirty('parameters') || form.isDirty('timeout_seconds') || form.isDirty('run_as'));

  const save = form.onSubmit(({ tenant_id, ...values }) =>
    submit(async () => {
      const saved = script
        ? await ok(api.PATCH('/api/v1/scripts/{id}', { params: { path: { id: script.id } }, body: { version: script.version, ...values } }))
        : await ok(api.POST('/api/v1/scripts', { body: { tenant_id, ...values } }));
      await client.invalidateQueries({ queryKey: ['scripts'] });
      notifyDone(t('kit.saved'));
      go(`/scripts/${saved.id}`);
    }),
  );

  return (
    <Page title={script ? script.name : t('scripts.create')} crumbs={[{ label: t('scripts.title'), to: '/scripts' }, ...(script ? [{ label: script.name, to: `/scripts/${script.id}` }] : [])]} narrow>
      <form onSubmit={save}>
        <Stack gap="md">
          <Panel>
            <Stack gap="md">
              <SimpleGrid cols={{ base: 1, sm: 2 }}>
                <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} />
                {!script && me.is_staff && <TenantSelect label={t('scripts.owner')} withProvider required value={form.values.tenant_id} onChange={(next) => form.setFieldValue('tenant_id', next ?? PROVIDER_ID)} error={form.errors.tenant_id} />}
              </SimpleGrid>
              <Textarea label={t('fields.description')} autosize minRows={2} maxLength={4000} {...form.getInputProps('description')} />
              <SimpleGrid cols={{ base: 1, sm: 2 }}>
                <Select label={t('scripts.interpreter')} allowDeselect={false} data={INTERPRETERS.map((each) => ({ value: each, label: label('interpreters', each) }))} {...form.getInputProps('interpreter')} />
                <MultiSelect label={t('scripts.platforms')} required data={PLATFORMS.map((each) => ({ value: each, label: label('os', each) }))} {...form.getInputProps('platforms')} />
                <DurationInput label={t('scripts.timeout')} required min={1} max={86_400} value={form.values.timeout_seconds} onChange={(seconds) => form.setFieldValue('timeout_seconds', seconds ?? 300)} error={form.errors.timeout_seconds} />
                <Select label={t('scripts.runAs')} allowDeselect={false} data={(['system', 'logged_in_user'] as const).map((each) => ({ value: each, label: label('runAs', each) }))} {...form.getInputProps('run_as')} />
              </SimpleGrid>
            </Stack>
          </Panel>
          <Panel title={t('scripts.body')}>
            <CodeInput label={t('scripts.body')} required value={form.values.body} onChange={(body) => form.setFieldValue('body', body)} error={form.errors.body} />
          </Panel>
          <Panel title={t('scripts.parameters')}>
            <ParametersEditor value={form.values.parameters} onChange={(parameters) => form.setFieldValue('parameters', parameters)} errors={form.errors} />
          </Panel>
          {(textChanged || !script) && <TextInput label={t('scripts.note')} maxLength={500} {...form.getInputProps('note')} />}
          <FormErrors error={error} />
          <Group>
            <Button type="submit" loading={busy}>
              {t('kit.save')}
            </Button>
            <Button variant="default" onClick={() => go(script ? `/scripts/${script.id}` : '/scripts')}>
              {t('kit.cancel')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Page>
  );
}

function initialOf(script: Script | undefined, owner: string): Values {
  if (!script) {
    return { name: '', description: '', platforms: ['linux'], interpreter: 'bash', body: '', parameters: [], timeout_seconds: 300, run_as: 'system', note: '', tenant_id: owner };
  }
  const { name, description, platforms, interpreter, body, parameters, timeout_seconds, run_as, tenant_id } = script;
  return { name, description, platforms, interpreter, body, parameters, timeout_seconds, run_as, note: '', tenant_id };
}
