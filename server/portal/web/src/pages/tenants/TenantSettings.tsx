import { Button, Group, Select, SimpleGrid, Stack, Switch, TextInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Tenant } from '../../api/types';
import { useCan } from '../../app/me';
import { localeOptions } from '../../kit/locales';
import { notifyDone } from '../../kit/notify';
import { Panel } from '../../kit/Page';
import { ZoneSelect } from '../../kit/pickers';
import { FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { JobLimits } from '../settings/JobLimits';

export function TenantSettings({ tenant }: { tenant: Tenant }) {
  const can = useCan();
  return (
    <Stack gap="md" maw={760}>
      {can('tenants.manage') && <General tenant={tenant} />}
      {can('settings.read') && <JobLimits tenantId={tenant.id} />}
    </Stack>
  );
}

function General({ tenant }: { tenant: Tenant }) {
  const client = useQueryClient();
  const { name, zone, locale, notes, enrolment_approval } = tenant;
  const form = useForm({ initialValues: { name, zone, locale, notes, enrolment_approval } });
  const { busy, error, submit } = useSubmit(form);
  const save = form.onSubmit((values) =>
    submit(async () => {
      await ok(api.PATCH('/api/v1/tenants/{id}', { params: { path: { id: tenant.id } }, body: { version: tenant.version, ...values } }));
      await client.invalidateQueries({ queryKey: ['tenants'] });
      notifyDone(t('kit.saved'));
    }),
  );
  return (
    <Panel title={t('tenants.general')}>
      <form onSubmit={save}>
        <Stack gap="md">
          <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} />
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            <ZoneSelect required value={form.values.zone} onChange={(next) => next && form.setFieldValue('zone', next)} error={form.errors.zone} />
            <Select label={t('tenants.locale')} allowDeselect={false} searchable data={localeOptions(locale)} {...form.getInputProps('locale')} />
          </SimpleGrid>
          <Switch label={t('tenants.approval')} description={t('tenants.approvalHint')} {...form.getInputProps('enrolment_approval', { type: 'checkbox' })} />
          <Textarea label={t('fields.notes')} autosize minRows={3} maxLength={4000} {...form.getInputProps('notes')} />
          <FormErrors error={error} shown={Object.keys(form.values)} />
          <Group>
            <Button type="submit" loading={busy} disabled={!form.isDirty()}>
              {t('kit.save')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Panel>
  );
}
