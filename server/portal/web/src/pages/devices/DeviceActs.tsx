import { ActionIcon, Button, Menu } from '@mantine/core';
import { IconCheck, IconDots, IconPencil, IconPlayerPlay, IconRefresh, IconShieldCheck, IconShieldX, IconTags, IconTrash, IconX } from '@tabler/icons-react';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { useCan } from '../../app/me';
import { useConfirm, type Question } from '../../kit/Confirm';
import { plain } from '../../kit/safeText';
import { useAct } from '../../kit/useAct';
import { t } from '../../messages/t';
import { RunDialog } from '../jobs/RunDialog';
import { BulkTagsDialog } from './BulkTagsDialog';
import { DeviceEditDialog } from './DeviceEditDialog';

type Verb = 'approve' | 'reject' | 'quarantine' | 'release' | 'retire';

/** What can be done with a device. */
export function DeviceActs({ device }: { device: Device }) {
  const can = useCan();
  const confirm = useConfirm();
  const { act, busy } = useAct('devices', 'tasks');
  const [dialog, setDialog] = useState<'run' | 'edit' | 'tags' | null>(null);
  const name = plain(device.name);

  const questions: Record<Verb, Question> = {
    approve: { title: t('devices.approveTitle', { name }), body: t('devices.approveBody'), confirm: t('devices.approve') },
    reject: { title: t('devices.rejectTitle', { name }), confirm: t('devices.reject'), danger: true, reason: 'optional' },
    quarantine: { title: t('devices.quarantineTitle', { name }), body: t('devices.quarantineBody'), confirm: t('devices.quarantine'), danger: true, reason: 'required' },
    release: { title: t('devices.releaseTitle', { name }), confirm: t('devices.release'), reason: 'optional' },
    retire: { title: t('devices.retireTitle', { name }), body: t('devices.retireBody'), confirm: t('devices.retire'), danger: true, typed: device.name, reason: 'optional' },
  };

  async function change(verb: Verb) {
    const answer = await confirm(questions[verb]);
    if (!answer) return;
    const init = { params: { path: { id: device.id } }, body: { version: device.version, ...(answer.reason ? { reason: answer.reason } : {}) } };
    await act(() => ok(api.POST(`/api/v1/devices/{id}/${verb}`, init)), t('kit.saved'));
  }

  const item = (verb: Verb, Symbol: typeof IconCheck, shown: boolean, danger?: boolean) =>
    shown && (
      <Menu.Item key={verb} leftSection={<Symbol size={15} />} color={danger ? 'red' : undefined} onClick={() => void change(verb)}>
        {t(`devices.${verb}`)}
      </Menu.Item>
    );

  const active = device.state === 'active';
  return (
    <>
      {device.state === 'pending' && can('devices.approve') && (
        <>
          <Button leftSection={<IconCheck size={15} />} loading={busy} onClick={() => void change('approve')}>
            {t('devices.approve')}
          </Button>
          <Button variant="default" leftSection={<IconX size={15} />} loading={busy} onClick={() => void change('reject')}>
            {t('devices.reject')}
          </Button>
        </>
      )}
      {active && can('jobs.run') && (
        <Button leftSection={<IconPlayerPlay size={15} />} onClick={() => setDialog('run')}>
          {t('devices.runScript')}
        </Button>
      )}
      {can('devices.manage') && device.state !== 'retired' && (
        <Menu width={220}>
          <Menu.Target>
            <ActionIcon variant="default" size={30} aria-label={t('kit.more')}>
              <IconDots size={16} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            <Menu.Item leftSection={<IconPencil size={15} />} onClick={() => setDialog('edit')}>
              {t('kit.edit')}
            </Menu.Item>
            <Menu.Item leftSection={<IconTags size={15} />} onClick={() => setDialog('tags')}>
              {t('devices.editTags')}
            </Menu.Item>
            {active && (
              <Menu.Item leftSection={<IconRefresh size={15} />} onClick={() => void act(() => ok(api.POST('/api/v1/devices/{id}/inventory/refresh', { params: { path: { id: device.id } } })), t('devices.refreshing'))}>
                {t('devices.refreshInventory')}
              </Menu.Item>
            )}
            <Menu.Divider />
            {item('quarantine', IconShieldX, active, true)}
            {item('release', IconShieldCheck, device.state === 'quarantined' && can('devices.approve'))}
            {item('retire', IconTrash, true, true)}
          </Menu.Dropdown>
        </Menu>
      )}
      {dialog === 'run' && <RunDialog targets={{ device_ids: [device.id] }} onClose={() => setDialog(null)} />}
      {dialog === 'edit' && <DeviceEditDialog device={device} onClose={() => setDialog(null)} />}
      {dialog === 'tags' && <BulkTagsDialog ids={[device.id]} onClose={() => setDialog(null)} />}
    </>
  );
}
