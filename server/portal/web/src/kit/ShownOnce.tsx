import { Alert, Checkbox, Button, Group, Modal, Stack, Text } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconEye } from '@tabler/icons-react';
import { useState, type ReactNode } from 'react';
import { t } from '../messages/t';
import { CodeBlock } from './Copy';

type Props = {
  title: string;
  label: string;
  secret: string;
  hint: ReactNode;
  onClose: () => void;
  /** Another one is made in a moment: nobody has to say that it is kept. */
  replaceable?: boolean;
  children?: ReactNode;
};

/** A secret that is shown now and never again; the dialog closes when one says that it is kept. */
export function ShownOnce({ title, label, secret, hint, onClose, replaceable = false, children }: Props) {
  const [kept, setKept] = useState(replaceable);
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  return (
    <Modal opened onClose={onClose} closeOnClickOutside={false} closeOnEscape={kept} withCloseButton={kept} title={<Text fw={600}>{title}</Text>} size="lg" fullScreen={phone ?? false}>
      <Stack gap="md">
        <Alert color="yellow" icon={<IconEye size={18} />}>
          {hint}
        </Alert>
        <div>
          <Text size="xs" c="dimmed" mb={4}>
            {label}
          </Text>
          <CodeBlock code={secret} label={label} />
        </div>
        {children}
        <Group justify={replaceable ? 'flex-end' : 'space-between'}>
          {!replaceable && <Checkbox label={t('once.kept')} checked={kept} onChange={(event) => setKept(event.currentTarget.checked)} />}
          <Button disabled={!kept} onClick={onClose}>
            {t('kit.close')}
          </Button>
        </Group>
      </Stack>
    </Modal>
  );
}
