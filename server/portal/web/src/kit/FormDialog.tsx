import { Button, Group, Modal, Stack, Text, type ModalProps } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import type { FormEvent, ReactNode } from 'react';
import { t } from '../messages/t';
import { FormErrors } from './States';

type Props = {
  title: string;
  onClose: () => void;
  onSubmit: (event: FormEvent<HTMLFormElement>) => void;
  busy: boolean;
  /** What the server answered; its faults that no field shows are listed. */
  error: unknown;
  /** Paths of the fields that show their own faults. */
  shown?: string[];
  submit?: string;
  /** Not sendable yet. */
  disabled?: boolean;
  size?: ModalProps['size'];
  children: ReactNode;
};

/** A form in a dialog; on a phone it fills the screen. */
export function FormDialog({ title, onClose, onSubmit, busy, error, shown, submit = t('kit.save'), disabled, size = 'md', children }: Props) {
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  return (
    <Modal opened onClose={onClose} title={<Text fw={600}>{title}</Text>} size={size} fullScreen={phone ?? false}>
      <form onSubmit={onSubmit}>
        <Stack gap="md">
          {children}
          <FormErrors error={error} {...(shown ? { shown } : {})} />
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>
              {t('kit.cancel')}
            </Button>
            <Button type="submit" loading={busy} disabled={disabled ?? false}>
              {submit}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
