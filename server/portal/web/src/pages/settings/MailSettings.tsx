import { Alert, Button, Group, NumberInput, PasswordInput, Select, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { IconCheck, IconMail, IconX } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState, type FormEvent } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useCan, useMe } from '../../app/me';
import { Loaded } from '../../kit/Loaded';
import { Panel } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { fieldErrors, FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { SettingsForm } from './SettingsForm';
import { useSettings } from './useSettings';

type Document = Schema<'MailSettingsDocument'>;
type Security = Schema<'MailSettings'>['security'];

// The port that goes with each way, which is the right one nearly always.
const PORTS: Record<Security, number> = { none: 25, starttls: 587, tls: 465 };

/** The mail server; without one, administrators hand out links. */
export function MailSettings() {
  const can = useCan();
  const settings = useQuery({ queryKey: ['settings', 'mail'], queryFn: ({ signal }) => ok(api.GET('/api/v1/settings/mail', { signal })) });
  return (
    <Stack gap="md">
      <Loaded query={settings}>{(document) => <Editor key={document.version} document={document} />}</Loaded>
      {settings.data?.value.host && can('settings.manage') && <TestPanel />}
    </Stack>
  );
}

function Editor({ document: { version, value: stored } }: { document: Document }) {
  const { password_set: passwordSet, ...rest } = stored;
  const initial = { ...rest, from_name: stored.from_name ?? '', password: '' };
  const { form, busy, error, save, shown } = useSettings(initial, ({ password, ...value }) => ok(api.PUT('/api/v1/settings/mail', { body: { version, value: { ...value, ...(password ? { password } : {}) } } })));

  function chooseSecurity(next: string | null) {
    if (!next) return;
    const usual = Object.values(PORTS).includes(form.values.port);
    form.setFieldValue('security', next as Security);
    if (usual) form.setFieldValue('port', PORTS[next as Security]);
  }

  return (
    <SettingsForm title={t('settings.mail')} onSubmit={save} busy={busy} dirty={form.isDirty()} error={error} shown={shown}>
      {!stored.host && <Text size="sm" c="dimmed">{t('settings.mailNone')}</Text>}
      <SimpleGrid cols={{ base: 1, sm: 3 }}>
        <TextInput label={t('settings.host')} maxLength={253} placeholder="smtp.example.com" {...form.getInputProps('host')} />
        <Select label={t('settings.transport')} allowDeselect={false} data={(['starttls', 'tls', 'none'] as const).map((each) => ({ value: each, label: t(`settings.${each}`) }))} value={form.values.security} onChange={chooseSecurity} error={form.errors.security} />
        <NumberInput label={t('settings.port')} min={1} max={65_535} allowDecimal={false} {...form.getInputProps('port')} />
      </SimpleGrid>
      {form.values.security === 'none' && form.values.host && (
        <Alert color="yellow" py={8}>
          {t('settings.plainWarning')}
        </Alert>
      )}
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <TextInput label={t('settings.username')} maxLength={254} autoComplete="off" {...form.getInputProps('username')} />
        <PasswordInput label={t('auth.password')} maxLength={1024} autoComplete="new-password" placeholder={passwordSet ? t('settings.passwordKept') : ''} {...form.getInputProps('password')} />
        <TextInput type="email" label={t('settings.from')} maxLength={254} {...form.getInputProps('from')} />
        <TextInput label={t('settings.fromName')} maxLength={120} {...form.getInputProps('from_name')} />
      </SimpleGrid>
    </SettingsForm>
  );
}

function TestPanel() {
  const { email } = useMe();
  const [to, setTo] = useState(email);
  const [result, setResult] = useState<Schema<'MailTestResult'>>();
  const { busy, error, submit } = useSubmit();

  function send(event: FormEvent) {
    event.preventDefault();
    setResult(undefined);
    void submit(async () => setResult(await ok(api.POST('/api/v1/settings/mail/test', { body: { to } }))));
  }

  return (
    <Panel title={t('settings.test')}>
      <form onSubmit={send}>
        <Stack gap="md">
          <Group align="flex-end" gap="sm">
            <TextInput type="email" label={t('settings.testTo')} required value={to} onChange={(event) => setTo(event.currentTarget.value)} error={error ? fieldErrors(error).to : undefined} flex="1 1 16rem" maw={360} />
            <Button type="submit" variant="default" size="sm" leftSection={<IconMail size={15} />} loading={busy}>
              {t('settings.testSend')}
            </Button>
          </Group>
          {result && (
            <Alert color={result.delivered ? 'teal' : 'red'} icon={result.delivered ? <IconCheck size={18} /> : <IconX size={18} />} title={t(result.delivered ? 'settings.testDone' : 'settings.testFailed')} role="status">
              <span className="foreign">{plain(result.detail)}</span>
            </Alert>
          )}
          <FormErrors error={error} shown={['to']} />
        </Stack>
      </form>
    </Panel>
  );
}
