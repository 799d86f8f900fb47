import { Button, Group, Modal, PasswordInput, Stack, Text, TextInput } from '@mantine/core';
import { useEffect, useState, type FormEvent, type ReactNode } from 'react';
import { session } from '../api/client';
import { t } from '../messages/t';
import { useMe } from '../app/me';
import { FormErrors } from './States';
import { useSubmit } from './useSubmit';

/** Asks who is acting when the server wants to know again; the refused request is then repeated. */
export function StepUpProvider({ children }: { children: ReactNode }) {
  const [settle, setSettle] = useState<((confirmed: boolean) => void) | null>(null);

  useEffect(() => {
    session.askStepUp = () => new Promise<boolean>((resolve) => setSettle(() => resolve));
    return () => {
      session.askStepUp = null;
    };
  }, []);

  function close(confirmed: boolean) {
    settle?.(confirmed);
    setSettle(null);
  }

  return (
    <>
      {children}
      {settle && <StepUpDialog onClose={close} />}
    </>
  );
}

function StepUpDialog({ onClose }: { onClose: (confirmed: boolean) => void }) {
  const { second_factor_enabled: withCode, email } = useMe();
  const [recovery, setRecovery] = useState(false);
  const [value, setValue] = useState('');
  const { busy, error, submit } = useSubmit();

  function send(event: FormEvent) {
    event.preventDefault();
    void submit(async () => {
      const secret = value.trim();
      await session.stepUp(!withCode ? { password: value } : recovery ? { recovery_code: secret } : { otp: secret });
      onClose(true);
    });
  }

  return (
    <Modal opened onClose={() => onClose(false)} title={<Text fw={600}>{t('auth.stepUpTitle')}</Text>} size="sm" zIndex={400}>
      <form onSubmit={send}>
        <Stack gap="md">
          <Text size="sm" c="dimmed">
            {t('auth.stepUpBody')}
          </Text>
          <input type="text" name="username" autoComplete="username" value={email} readOnly hidden />
          {!withCode && (
            <PasswordInput label={t('auth.password')} autoComplete="current-password" required value={value} onChange={(e) => setValue(e.currentTarget.value)} data-autofocus />
          )}
          {withCode && !recovery && (
            <TextInput label={t('auth.code')} inputMode="numeric" autoComplete="one-time-code" required value={value} onChange={(e) => setValue(e.currentTarget.value)} data-autofocus />
          )}
          {withCode && recovery && <TextInput label={t('auth.recoveryCode')} required autoComplete="off" value={value} onChange={(e) => setValue(e.currentTarget.value)} data-autofocus />}
          <FormErrors error={error} />
          <Group justify="space-between">
            {withCode ? (
              <Button variant="subtle" color="gray" onClick={() => setRecovery(!recovery)}>
                {recovery ? t('auth.useCode') : t('auth.useRecoveryCode')}
              </Button>
            ) : (
              <span />
            )}
            <Button type="submit" loading={busy}>
              {t('auth.confirm')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
