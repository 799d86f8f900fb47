import { NumberInput, Select, SimpleGrid, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useMe } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { FormDialog } from '../../kit/FormDialog';
import { SiteSelect, TagsField, TenantSelect } from '../../kit/pickers';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { InstallDialog } from './InstallDialog';

const DAY = 86_400_000;
const LIFETIMES = ['1', '7', '30', '90', '365'];

type Values = { tenant_id: string | null; site_id: string | null; label: string; tags: string[]; max_uses: number; days: string };

/** Makes a token for a site, then shows it once with the lines to paste. */
export function TokenDialog({ onClose }: { onClose: () => void }) {
  const me = useMe();
  const tenant = useTenantId();
  const client = useQueryClient();
  const form = useForm<Values>({ initialValues: { tenant_id: me.is_staff ? (tenant && tenant !== PROVIDER_ID ? tenant : null) : me.tenant_id, site_id: null, label: '', tags: [], max_uses: 1, days: '7' } });
  const { busy, error, submit } = useSubmit(form);
  const [made, setMade] = useState<Schema<'EnrolmentTokenCreated'>>();

  const save = form.onSubmit(({ tenant_id, site_id, days, ...values }) =>
    submit(async () => {
      if (!tenant_id || !site_id) return;
      const expires_at = new Date(Date.now() + Number(days) * DAY - 60_000).toISOString();
      setMade(await ok(api.POST('/api/v1/enrolment-tokens', { body: { tenant_id, site_id, expires_at, ...values } })));
      await client.invalidateQueries({ queryKey: ['enrolment-tokens'] });
    }),
  );

  if (made) return <InstallDialog made={made} onClose={onClose} />;
  const { tenant_id, site_id } = form.values;
  return (
    <FormDialog title={t('enrolment.create')} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={['tenant_id', 'site_id', 'label', 'tags', 'max_uses', 'expires_at']} submit={t('kit.create')} disabled={!tenant_id || !site_id}>
      {me.is_staff && <TenantSelect required withProvider value={tenant_id} onChange={(id) => form.setValues({ tenant_id: id, site_id: null })} error={form.errors.tenant_id} />}
      <SiteSelect key={tenant_id} required disabled={!tenant_id} tenantId={tenant_id} value={site_id} onChange={(id) => form.setFieldValue('site_id', id)} error={form.errors.site_id} />
      <SimpleGrid cols={2}>
        <NumberInput label={t('enrolment.maxUses')} required min={1} max={100_000} allowDecimal={false} {...form.getInputProps('max_uses')} />
        <Select label={t('enrolment.lifetime')} allowDeselect={false} data={LIFETIMES.map((n) => ({ value: n, label: t('apiKeys.days', { n: Number(n) }) }))} {...form.getInputProps('days')} error={form.errors.expires_at} />
      </SimpleGrid>
      <TextInput label={t('enrolment.label')} description={t('enrolment.labelHint')} maxLength={120} {...form.getInputProps('label')} />
      <TagsField description={t('enrolment.tagsHint')} value={form.values.tags} onChange={(tags) => form.setFieldValue('tags', tags)} error={form.errors.tags} />
    </FormDialog>
  );
}
