import { TextInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Site } from '../../api/types';
import { FormDialog } from '../../kit/FormDialog';
import { notifyDone } from '../../kit/notify';
import { ZoneSelect } from '../../kit/pickers';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

/** Makes or changes a site. */
export function SiteDialog({ tenantId, site, onClose }: { tenantId: string; site?: Site; onClose: () => void }) {
  const client = useQueryClient();
  const form = useForm({ initialValues: { name: site?.name ?? '', zone: site?.zone ?? null, address: site?.address ?? '', notes: site?.notes ?? '' } });
  const { busy, error, submit } = useSubmit(form);
  const save = form.onSubmit((values) =>
    submit(async () => {
      if (site) await ok(api.PATCH('/api/v1/sites/{id}', { params: { path: { id: site.id } }, body: { version: site.version, ...values } }));
      else await ok(api.POST('/api/v1/sites', { body: { tenant_id: tenantId, ...values } }));
      await Promise.all(['sites', 'tenants'].map((key) => client.invalidateQueries({ queryKey: [key] })));
      notifyDone(t('kit.saved'));
      onClose();
    }),
  );
  return (
    <FormDialog title={site ? t('tenants.editSite') : t('tenants.createSite')} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={Object.keys(form.values)} submit={site ? t('kit.save') : t('kit.create')}>
      <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
      <ZoneSelect clearable placeholder={t('tenants.asTenant')} value={form.values.zone} onChange={(zone) => form.setFieldValue('zone', zone)} error={form.errors.zone} />
      <Textarea label={t('tenants.address')} autosize minRows={2} maxLength={500} {...form.getInputProps('address')} />
      <Textarea label={t('fields.notes')} autosize minRows={2} maxLength={4000} {...form.getInputProps('notes')} />
    </FormDialog>
  );
}
