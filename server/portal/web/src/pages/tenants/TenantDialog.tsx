import { Select, SimpleGrid, Switch, TextInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import { useGo } from '../../app/tenant';
import { FormDialog } from '../../kit/FormDialog';
import { localeOptions } from '../../kit/locales';
import { notifyDone } from '../../kit/notify';
import { ZoneSelect } from '../../kit/pickers';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

type Values = { name: string; first_site: string; zone: string | null; locale: string | null; enrolment_approval: boolean; notes: string };

/** A new client, with its first site in the same step. */
export function TenantDialog({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const go = useGo();
  const form = useForm<Values>({ initialValues: { name: '', first_site: t('tenants.firstSiteName'), zone: null, locale: null, enrolment_approval: false, notes: '' } });
  const { busy, error, submit } = useSubmit(form);

  const save = form.onSubmit(({ zone, locale, first_site, notes, ...rest }) =>
    submit(async () => {
      const body = { ...rest, ...(zone ? { zone } : {}), ...(locale ? { locale } : {}), ...(first_site.trim() ? { first_site: first_site.trim() } : {}), ...(notes ? { notes } : {}) };
      const tenant = await ok(api.POST('/api/v1/tenants', { body }));
      await client.invalidateQueries({ queryKey: ['tenants'] });
      notifyDone(t('tenants.created', { name: tenant.name }));
      onClose();
      go(`/tenants/${tenant.id}`);
    }),
  );

  return (
    <FormDialog title={t('tenants.create')} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={Object.keys(form.values)} submit={t('kit.create')} size="lg">
      <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
      <TextInput label={t('tenants.firstSite')} description={t('tenants.firstSiteHint')} maxLength={120} {...form.getInputProps('first_site')} />
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <ZoneSelect clearable placeholder={t('tenants.asProvider')} value={form.values.zone} onChange={(zone) => form.setFieldValue('zone', zone)} error={form.errors.zone} />
        <Select label={t('tenants.locale')} clearable searchable placeholder={t('tenants.asProvider')} data={localeOptions()} {...form.getInputProps('locale')} />
      </SimpleGrid>
      <Switch label={t('tenants.approval')} description={t('tenants.approvalHint')} {...form.getInputProps('enrolment_approval', { type: 'checkbox' })} />
      <Textarea label={t('fields.notes')} autosize minRows={2} maxLength={4000} {...form.getInputProps('notes')} />
    </FormDialog>
  );
}
