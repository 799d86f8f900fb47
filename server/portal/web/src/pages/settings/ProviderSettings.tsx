import { Select, SimpleGrid, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { Loaded } from '../../kit/Loaded';
import { localeOptions } from '../../kit/locales';
import { ZoneSelect } from '../../kit/pickers';
import { t } from '../../messages/t';
import { SettingsForm } from './SettingsForm';
import { useSettings } from './useSettings';

type Document = Schema<'ProviderSettingsDocument'>;

/** The MSP itself: its name, where customers reach it, its zone and language. */
export function ProviderSettings() {
  const settings = useQuery({ queryKey: ['settings', 'provider'], queryFn: ({ signal }) => ok(api.GET('/api/v1/settings/provider', { signal })) });
  return <Loaded query={settings}>{(document) => <Editor key={document.version} document={document} />}</Loaded>;
}

function Editor({ document: { version, value: stored } }: { document: Document }) {
  const { form, busy, error, save, shown } = useSettings({ ...stored, support_email: stored.support_email ?? '', support_phone: stored.support_phone ?? '' }, (value) => ok(api.PUT('/api/v1/settings/provider', { body: { version, value } })));
  return (
    <SettingsForm title={t('settings.provider')} onSubmit={save} busy={busy} dirty={form.isDirty()} error={error} shown={shown}>
      <TextInput label={t('settings.name')} description={t('settings.nameHint')} required maxLength={120} {...form.getInputProps('name')} />
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <TextInput type="email" label={t('settings.supportEmail')} maxLength={254} {...form.getInputProps('support_email')} />
        <TextInput type="tel" label={t('settings.supportPhone')} maxLength={60} {...form.getInputProps('support_phone')} />
        <ZoneSelect required value={form.values.zone} onChange={(zone) => zone && form.setFieldValue('zone', zone)} error={form.errors.zone} />
        <Select label={t('tenants.locale')} allowDeselect={false} searchable data={localeOptions(stored.locale)} {...form.getInputProps('locale')} />
      </SimpleGrid>
    </SettingsForm>
  );
}
