import { MultiSelect, NumberInput, SimpleGrid } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { Loaded } from '../../kit/Loaded';
import { label, t } from '../../messages/t';
import { ROLES } from '../users/roles';
import { SettingsForm } from './SettingsForm';
import { useSettings } from './useSettings';

type Document = Schema<'SecuritySettingsDocument'>;

/** Passwords, sessions, and for whom the second factor is a must. */
export function SecuritySettings() {
  const settings = useQuery({ queryKey: ['settings', 'security'], queryFn: ({ signal }) => ok(api.GET('/api/v1/settings/security', { signal })) });
  return <Loaded query={settings}>{(document) => <Editor key={document.version} document={document} />}</Loaded>;
}

function Editor({ document: { version, value: stored } }: { document: Document }) {
  const { form, busy, error, save, shown } = useSettings(stored, (value) => ok(api.PUT('/api/v1/settings/security', { body: { version, value } })));
  return (
    <SettingsForm title={t('settings.security')} onSubmit={save} busy={busy} dirty={form.isDirty()} error={error} shown={shown}>
      <MultiSelect label={t('settings.factorRoles')} description={t('settings.factorRolesHint')} data={ROLES.map((role) => ({ value: role, label: label('roles', role) }))} {...form.getInputProps('second_factor_required_roles')} />
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <NumberInput label={t('settings.passwordLength')} suffix={` ${t('settings.characters')}`} min={12} max={128} allowDecimal={false} required {...form.getInputProps('password_min_length')} />
        <NumberInput label={t('settings.stepUp')} description={t('settings.stepUpHint')} suffix={` ${t('kit.minutes')}`} min={1} max={120} allowDecimal={false} required inputWrapperOrder={['label', 'input', 'description', 'error']} {...form.getInputProps('step_up_minutes')} />
        <NumberInput label={t('settings.sessionIdle')} suffix={` ${t('kit.hours')}`} min={1} max={720} allowDecimal={false} required {...form.getInputProps('session_idle_hours')} />
        <NumberInput label={t('settings.sessionMax')} suffix={` ${t('kit.days')}`} min={1} max={365} allowDecimal={false} required {...form.getInputProps('session_max_days')} />
      </SimpleGrid>
    </SettingsForm>
  );
}
