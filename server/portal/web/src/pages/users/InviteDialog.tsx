import { Select, SimpleGrid, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useMe } from '../../app/me';
import { useGo, useTenantId } from '../../app/tenant';
import { FormDialog } from '../../kit/FormDialog';
import { exactTime } from '../../kit/format';
import { localeOptions } from '../../kit/locales';
import { notifyDone } from '../../kit/notify';
import { TenantSelect } from '../../kit/pickers';
import { ShownOnce } from '../../kit/ShownOnce';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { GrantsEditor, newGrant } from './GrantsEditor';

type Values = { tenant_id: string; email: string; name: string; locale: string | null; grants: Schema<'Grant'>[] };

/** Invites somebody; without a mail server their link is shown here, once. */
export function InviteDialog({ onClose }: { onClose: () => void }) {
  const me = useMe();
  const tenant = useTenantId();
  const client = useQueryClient();
  const go = useGo();
  const owner = me.is_staff ? (tenant ?? PROVIDER_ID) : me.tenant_id;
  const form = useForm<Values>({ initialValues: { tenant_id: owner, email: '', name: '', locale: null, grants: [newGrant(owner === PROVIDER_ID)] } });
  const { busy, error, submit } = useSubmit(form);
  const [invitation, setInvitation] = useState<Schema<'UserInvitation'>>();
  const staff = form.values.tenant_id === PROVIDER_ID;

  const send = form.onSubmit(({ locale, ...values }) =>
    submit(async () => {
      const made = await ok(api.POST('/api/v1/users', { body: { ...values, ...(locale ? { locale } : {}) } }));
      await client.invalidateQueries({ queryKey: ['users'] });
      if (made.link) return setInvitation(made);
      notifyDone(t('users.invitedByMail', { email: made.user.email }));
      onClose();
      go(`/users/${made.user.id}`);
    }),
  );

  function choose(id: string | null) {
    const next = id ?? PROVIDER_ID;
    // The roles of staff and of customers are different ones.
    const sameKind = (next === PROVIDER_ID) === staff;
    form.setValues({ tenant_id: next, ...(sameKind ? {} : { grants: [newGrant(next === PROVIDER_ID)] }) });
  }

  if (invitation?.link) {
    return (
      <ShownOnce title={t('users.linkTitle', { name: invitation.user.name })} label={t('users.link')} secret={invitation.link.url} hint={t('users.linkHint', { until: exactTime(invitation.link.expires_at) })} onClose={onClose} />
    );
  }
  return (
    <FormDialog title={t('users.invite')} onClose={onClose} onSubmit={send} busy={busy} error={error} shown={shownOf(form.values)} submit={t('users.sendInvitation')} size="lg">
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
        <TextInput type="email" label={t('fields.email')} required maxLength={254} {...form.getInputProps('email')} />
        {me.is_staff && <TenantSelect label={t('users.belongsTo')} withProvider required value={form.values.tenant_id} onChange={choose} error={form.errors.tenant_id} />}
        <Select label={t('profile.locale')} clearable searchable placeholder={t('tenants.asTenant')} data={localeOptions()} {...form.getInputProps('locale')} />
      </SimpleGrid>
      <GrantsEditor value={form.values.grants} onChange={(grants) => form.setFieldValue('grants', grants)} staff={staff} errors={form.errors} />
    </FormDialog>
  );
}

const shownOf = (values: Values) => ['name', 'email', 'tenant_id', 'locale', ...values.grants.flatMap((_, i) => [`grants.${i}`, `grants.${i}.role`, `grants.${i}.tenant_ids`])];
