import { Alert, NumberInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconAlertOctagon } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Tenant } from '../../api/types';
import { FormDialog } from '../../kit/FormDialog';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

/** Takes access to a client in an emergency: with a reason, for a while, and told to the owners. */
export function EmergencyDialog({ tenant, onClose }: { tenant: Tenant; onClose: () => void }) {
  const client = useQueryClient();
  const form = useForm({ initialValues: { reason: '', minutes: 30 } });
  const { busy, error, submit } = useSubmit(form);
  const send = form.onSubmit((values) =>
    submit(async () => {
      await ok(api.POST('/api/v1/auth/break-glass', { body: { tenant_id: tenant.id, ...values } }));
      onClose();
      await client.invalidateQueries();
    }),
  );
  return (
    <FormDialog title={t('tenants.emergencyTitle', { name: tenant.name })} onClose={onClose} onSubmit={send} busy={busy} error={error} shown={['reason', 'minutes']} submit={t('tenants.emergencyTake')}>
      <Alert color="red" icon={<IconAlertOctagon size={18} />}>
        {t('tenants.emergencyBody')}
      </Alert>
      <Textarea label={t('kit.reason')} required minLength={10} maxLength={1000} autosize minRows={2} {...form.getInputProps('reason')} data-autofocus />
      <NumberInput label={t('tenants.emergencyMinutes')} required min={5} max={240} allowDecimal={false} maw={180} {...form.getInputProps('minutes')} />
    </FormDialog>
  );
}
