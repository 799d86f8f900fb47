import { Alert, Button, Group, Modal, PasswordInput, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { IconShieldLock } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { encode } from 'uqr';
import { api, ok, session } from '../../api/client';
import type { Schema } from '../../api/types';
import { useMe } from '../../app/me';
import { useConfirm } from '../../kit/Confirm';
import { CodeBlock } from '../../kit/Copy';
import { notifyDone } from '../../kit/notify';
import { Panel } from '../../kit/Page';
import { FormErrors } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { useAct } from '../../kit/useAct';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

export function SecurityTab() {
  const me = useMe();
  const [codes, setCodes] = useState<string[] | null>(null);
  const client = useQueryClient();

  async function saved() {
    setCodes(null);
    // The restricted token only served to set the factor up; a refresh brings the full one.
    await session.refresh();
    await client.invalidateQueries();
  }

  return (
    <Stack gap="md">
      {me.second_factor_setup_required && (
        <Alert color="yellow" icon={<IconShieldLock size={18} />}>
          {t('profile.factorRequired')}
        </Alert>
      )}
      <SecondFactor onCodes={setCodes} />
      {!me.second_factor_setup_required && <ChangePassword />}
      {codes && <RecoveryCodes codes={codes} onSaved={() => void saved()} />}
    </Stack>
  );
}

function SecondFactor({ onCodes }: { onCodes: (codes: string[]) => void }) {
  const me = useMe();
  const confirm = useConfirm();
  const { act, busy } = useAct('me');
  const [setup, setSetup] = useState<Schema<'TotpSetup'> | null>(null);

  async function begin() {
    const result = await act(() => ok(api.POST('/api/v1/auth/totp')));
    if (result) setSetup(result);
  }

  async function turnOff() {
    if (!(await confirm({ title: t('profile.turnOff'), body: t('profile.turnOffBody'), confirm: t('profile.turnOff'), danger: true }))) return;
    await act(() => ok(api.DELETE('/api/v1/auth/totp')));
  }

  async function renew() {
    if (!(await confirm({ title: t('profile.newCodes'), body: t('profile.newCodesBody'), confirm: t('profile.newCodes') }))) return;
    const result = await act(() => ok(api.POST('/api/v1/auth/recovery-codes')));
    if (result) onCodes(result.recovery_codes);
  }

  return (
    <Panel title={t('profile.factor')}>
      <Group justify="space-between">
        <Group gap="sm">
          <StateBadge state={me.second_factor_enabled ? 'enabled' : 'disabled'} />
          <Text size="sm">{t('profile.factorBody')}</Text>
        </Group>
        <Group gap="xs">
          {me.second_factor_enabled ? (
            <>
              <Button variant="default" loading={busy} onClick={() => void renew()}>
                {t('profile.newCodes')}
              </Button>
              <Button variant="default" color="red" loading={busy} onClick={() => void turnOff()}>
                {t('profile.turnOff')}
              </Button>
            </>
          ) : (
            <Button loading={busy} onClick={() => void begin()}>
              {t('profile.setUp')}
            </Button>
          )}
        </Group>
      </Group>
      {setup && (
        <TotpDialog
          setup={setup}
          onClose={() => setSetup(null)}
          onDone={(recovery) => {
            setSetup(null);
            onCodes(recovery);
          }}
        />
      )}
    </Panel>
  );
}

function TotpDialog({ setup, onClose, onDone }: { setup: Schema<'TotpSetup'>; onClose: () => void; onDone: (codes: string[]) => void }) {
  const [otp, setOtp] = useState('');
  const { busy, error, submit } = useSubmit();

  function send(event: FormEvent) {
    event.preventDefault();
    void submit(async () => {
      const { recovery_codes: codes } = await ok(api.POST('/api/v1/auth/totp/confirm', { body: { otp: otp.replace(/\s/g, '') } }));
      onDone(codes);
    });
  }

  return (
    <Modal opened onClose={onClose} title={<Text fw={600}>{t('profile.setUpTitle')}</Text>} size="md">
      <form onSubmit={send}>
        <Stack gap="md">
          <Text size="sm">{t('profile.scan')}</Text>
          <Group justify="center">
            <QrCode text={setup.uri} />
          </Group>
          <CodeBlock code={setup.secret} label={t('profile.secret')} />
          <TextInput label={t('auth.code')} inputMode="numeric" autoComplete="one-time-code" required value={otp} onChange={(event) => setOtp(event.currentTarget.value)} data-autofocus />
          <FormErrors error={error} />
          <Group justify="flex-end">
            <Button type="submit" loading={busy}>
              {t('auth.confirm')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}

// Drawn as SVG: no image from elsewhere, no data: address.
function QrCode({ text }: { text: string }) {
  const { data, size } = encode(text, { border: 2 });
  const path = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ''))).join('');
  return (
    <svg viewBox={`0 0 ${size} ${size}`} width={200} height={200} role="img" aria-label={t('profile.scan')} shapeRendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#000" />
    </svg>
  );
}

function RecoveryCodes({ codes, onSaved }: { codes: string[]; onSaved: () => void }) {
  return (
    <Modal opened onClose={onSaved} title={<Text fw={600}>{t('profile.codesTitle')}</Text>} closeOnClickOutside={false} closeOnEscape={false} withCloseButton={false}>
      <Stack gap="md">
        <Text size="sm">{t('profile.codesBody')}</Text>
        <CodeBlock code={codes.join('\n')} label={t('profile.codesTitle')} />
        <Group justify="flex-end">
          <Button onClick={onSaved}>{t('profile.savedCodes')}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}

function ChangePassword() {
  const { email } = useMe();
  const form = useForm({
    initialValues: { current_password: '', new_password: '', again: '' },
    validate: { again: (value, values) => (value === values.new_password ? null : t('auth.passwordsDiffer')) },
  });
  const { busy, error, submit } = useSubmit(form);

  const save = form.onSubmit(({ current_password, new_password }) =>
    submit(async () => {
      await ok(api.POST('/api/v1/auth/password', { body: { current_password, new_password } }));
      form.reset();
      notifyDone(t('profile.passwordChanged'));
    }),
  );

  return (
    <Panel title={t('profile.changePassword')}>
      <form onSubmit={save}>
        <input type="text" name="username" autoComplete="username" value={email} readOnly hidden />
        <Stack gap="md">
          <SimpleGrid cols={{ base: 1, sm: 3 }}>
            <PasswordInput label={t('profile.currentPassword')} autoComplete="current-password" required {...form.getInputProps('current_password')} />
            <PasswordInput label={t('auth.newPassword')} autoComplete="new-password" required {...form.getInputProps('new_password')} />
            <PasswordInput label={t('auth.newPasswordAgain')} autoComplete="new-password" required {...form.getInputProps('again')} />
          </SimpleGrid>
          <FormErrors error={error} />
          <Group>
            <Button type="submit" loading={busy}>
              {t('profile.changePassword')}
            </Button>
          </Group>
        </Stack>
      </form>
    </Panel>
  );
}
