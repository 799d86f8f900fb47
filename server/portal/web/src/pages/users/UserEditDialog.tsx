import { Select, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { FormDialog } from '../../kit/FormDialog';
import { localeOptions } from '../../kit/locales';
import { notifyDone } from '../../kit/notify';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

export function UserEditDialog({ user, onClose }: { user: Schema<'User'>; onClose: () => void }) {
  const client = useQueryClient();
  const form = useForm({ initialValues: { name: user.name, email: user.email, locale: user.locale } });
  const { busy, error, submit } = useSubmit(form);
  const save = form.onSubmit((values) =>
    submit(async () => {
      // Only what was changed is sent: the e-mail address is what somebody signs in with.
      const changed = Object.fromEntries(Object.entries(values).filter(([name]) => form.isDirty(name)));
      await ok(api.PATCH('/api/v1/users/{id}', { params: { path: { id: user.id } }, body: { version: user.version, ...changed } }));
      await client.invalidateQueries({ queryKey: ['users'] });
      notifyDone(t('kit.saved'));
      onClose();
    }),
  );
  return (
    <FormDialog title={t('users.edit')} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={Object.keys(form.values)}>
      <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
      <TextInput type="email" label={t('fields.email')} description={t('users.emailHint')} required maxLength={254} {...form.getInputProps('email')} />
      <Select label={t('profile.locale')} allowDeselect={false} searchable data={localeOptions(user.locale)} {...form.getInputProps('locale')} />
    </FormDialog>
  );
}
