import { Button, Group, Modal, Select, Stack, Text, TextInput, Textarea } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { notifyDone } from '../../kit/notify';
import { SiteSelect } from '../../kit/pickers';
import { FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { label, t } from '../../messages/t';

const KINDS: Device['kind'][] = ['server', 'workstation', 'laptop', 'virtual', 'container', 'unknown'];

export function DeviceEditDialog({ device, onClose }: { device: Device; onClose: () => void }) {
  const client = useQueryClient();
  const form = useForm({ initialValues: { name: device.name, site_id: device.site_id, kind: device.kind, notes: device.notes } });
  const { busy, error, submit } = useSubmit(form);

  const save = form.onSubmit((values) =>
    submit(async () => {
      await ok(api.PATCH('/api/v1/devices/{id}', { params: { path: { id: device.id } }, body: { version: device.version, ...values } }));
      await client.invalidateQueries({ queryKey: ['devices'] });
      notifyDone(t('kit.saved'));
      onClose();
    }),
  );

  return (
    <Modal opened onClose={onClose} title={<Text fw={600}>{t('devices.editTitle')}</Text>}>
      <form onSubmit={save}>
        <Stack gap="md">
          <TextInput label={t('fields.name')} description={t('devices.nameHint', { host: device.hostname })} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
          <SiteSelect required tenantId={device.tenant_id} value={form.values.site_id} error={form.errors.site_id} onChange={(id) => id && form.setFieldValue('site_id', id)} />
          <Select label={t('devices.kind')} allowDeselect={false} data={KINDS.map((each) => ({ value: each, label: label('deviceKinds', each) }))} {...form.getInputProps('kind')} />
          <Textarea label={t('fields.notes')} autosize minRows={3} maxLength={4000} {...form.getInputProps('notes')} />
          <FormErrors error={error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('kit.cancel')}
            </Button>
            <Button type="submit" loading={busy}>
              {t('kit.save')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
