import { Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, ok } from '../../api/client';
import { notifyDone } from '../../kit/notify';
import { TagsField } from '../../kit/pickers';
import { FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

const AT_ONCE = 1000;

/** Puts tags on many devices, or takes them off. */
export function BulkTagsDialog({ ids, onClose }: { ids: string[]; onClose: (changed: boolean) => void }) {
  const [add, setAdd] = useState<string[]>([]);
  const [remove, setRemove] = useState<string[]>([]);
  const client = useQueryClient();
  const { busy, error, submit } = useSubmit();

  function send(event: FormEvent) {
    event.preventDefault();
    void submit(async () => {
      let changed = 0;
      for (let from = 0; from < ids.length; from += AT_ONCE) {
        const result = await ok(api.POST('/api/v1/devices/bulk/tags', { body: { device_ids: ids.slice(from, from + AT_ONCE), add, remove } }));
        changed += result.changed;
      }
      await Promise.all([client.invalidateQueries({ queryKey: ['devices'] }), client.invalidateQueries({ queryKey: ['tags'] })]);
      notifyDone(t('devices.tagsChanged', { n: changed }));
      onClose(true);
    });
  }

  return (
    <Modal opened onClose={() => onClose(false)} title={<Text fw={600}>{t('devices.editTagsOf', { n: ids.length })}</Text>}>
      <form onSubmit={send}>
        <Stack gap="md">
          <TagsField label={t('devices.tagsAdd')} value={add} onChange={setAdd} />
          <TagsField label={t('devices.tagsRemove')} value={remove} onChange={setRemove} />
          <FormErrors error={error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={() => onClose(false)}>
              {t('kit.cancel')}
            </Button>
            <Button type="submit" loading={busy} disabled={add.length + remove.length === 0}>
              {t('kit.save')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
