import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID } from '../../app/me';
import { FormDialog } from '../../kit/FormDialog';
import { notifyDone } from '../../kit/notify';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { GrantsEditor } from './GrantsEditor';

/** Changes what somebody may do; it holds from their next request on. */
export function GrantsDialog({ user, onClose }: { user: Schema<'User'>; onClose: () => void }) {
  const client = useQueryClient();
  const form = useForm({ initialValues: { grants: user.grants } });
  const { busy, error, submit } = useSubmit(form);
  const save = form.onSubmit(({ grants }) =>
    submit(async () => {
      await ok(api.PUT('/api/v1/users/{id}/grants', { params: { path: { id: user.id } }, body: { version: user.version, grants } }));
      await Promise.all(['users', 'me'].map((key) => client.invalidateQueries({ queryKey: [key] })));
      notifyDone(t('kit.saved'));
      onClose();
    }),
  );
  return (
    <FormDialog title={t('users.rolesOf', { name: user.name })} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={form.values.grants.flatMap((_, i) => [`grants.${i}`, `grants.${i}.role`, `grants.${i}.tenant_ids`])} size="lg">
      <GrantsEditor value={form.values.grants} onChange={(grants) => form.setFieldValue('grants', grants)} staff={user.tenant_id === PROVIDER_ID} errors={form.errors} />
    </FormDialog>
  );
}
