import { Anchor, Button, Collapse, Divider, Group, Modal, Stack, Text, TextInput, Textarea } from '@mantine/core';
import { useDisclosure, useMediaQuery } from '@mantine/hooks';
import { IconPlayerPlay } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useCallback, useState, type FormEvent } from 'react';
import { api, ok } from '../../api/client';
import type { Schema, Targets } from '../../api/types';
import { useGo } from '../../app/tenant';
import { DurationInput } from '../../kit/DurationInput';
import { notifyDone } from '../../kit/notify';
import { SelectorEditor, completeTargets } from '../../kit/SelectorEditor';
import { FormErrors, fieldErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { Reach } from './Reach';
import { isComplete, newWork, payloadOf, type Work } from './work';
import { WorkEditor, scriptQuery } from './WorkEditor';

type Props = {
  targets: Targets;
  /** What is run, when the dialog is opened from a script. */
  work?: Work;
  onClose: () => void;
};

const WEEK = 7 * 86_400;

/** Runs a script (or another task) on devices, after showing how many it reaches. */
export function RunDialog({ targets: initialTargets, work: initialWork, onClose }: Props) {
  const [work, setWork] = useState<Work>(() => initialWork ?? newWork('library'));
  const [targets, setTargets] = useState<Targets>(initialTargets);
  const [name, setName] = useState('');
  const [reason, setReason] = useState('');
  const [expires, setExpires] = useState<number | undefined>(WEEK);
  const [preview, setPreview] = useState<Schema<'JobPreview'>>();
  const [more, { toggle }] = useDisclosure();
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const client = useQueryClient();
  const go = useGo();
  const { busy, error, submit } = useSubmit();
  const script = useQuery(scriptQuery(work.payload.script_id));
  const errors = error ? fieldErrors(error) : {};

  const complete = completeTargets(targets);
  const ready = isComplete(work, script.data) && complete !== undefined;
  const body: Schema<'JobCreate'> | undefined = ready
    ? {
        kind: work.kind,
        targets: complete,
        payload: payloadOf(work),
        ...(name.trim() ? { name: name.trim() } : {}),
        ...(expires ? { expires_in_seconds: expires } : {}),
      }
    : undefined;
  const onPreview = useCallback((next: Schema<'JobPreview'> | undefined) => setPreview(next), []);

  function send(event: FormEvent) {
    event.preventDefault();
    if (!body) return;
    void submit(async () => {
      const job = await ok(api.POST('/api/v1/jobs', { body: { ...body, ...(reason.trim() ? { reason: reason.trim() } : {}) } }));
      await client.invalidateQueries({ queryKey: ['jobs'] });
      notifyDone(job.state === 'waiting_approval' ? t('jobs.startedWaiting') : t('jobs.started', { n: job.tasks_total }));
      onClose();
      go(`/jobs/${job.id}`);
    });
  }

  return (
    <Modal opened onClose={onClose} title={<Text fw={600}>{t('jobs.runTitle')}</Text>} size="xl" fullScreen={phone ?? false} yOffset="4dvh">
      <form onSubmit={send}>
        <Stack gap="md">
          <WorkEditor value={work} onChange={setWork} errors={errors} />
          <Divider />
          <SelectorEditor value={targets} onChange={setTargets} error={errors.targets} />
          <Reach job={body} onPreview={onPreview} />
          {preview?.needs_approval && <Textarea label={t('jobs.approvalReason')} required autosize minRows={2} maxLength={1000} value={reason} onChange={(event) => setReason(event.currentTarget.value)} />}
          <div>
            <Anchor component="button" type="button" size="xs" onClick={toggle} aria-expanded={more}>
              {t('jobs.moreOptions')}
            </Anchor>
            <Collapse expanded={more}>
              <Group align="flex-start" gap="md" mt="xs">
                <TextInput label={t('jobs.name')} description={t('jobs.nameHint')} maxLength={200} value={name} onChange={(event) => setName(event.currentTarget.value)} w={280} />
                <DurationInput label={t('jobs.expires')} description={t('jobs.expiresHint')} min={60} max={90 * 86_400} value={expires} onChange={setExpires} error={errors.expires_in_seconds} />
              </Group>
            </Collapse>
          </div>
          <FormErrors error={error} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('kit.cancel')}
            </Button>
            <Button type="submit" leftSection={<IconPlayerPlay size={15} />} loading={busy} disabled={!ready || preview?.devices_total === 0}>
              {preview?.needs_approval ? t('jobs.askApproval') : preview ? t('jobs.runOn', { n: preview.devices_total }) : t('jobs.run')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
