import { Badge, Button, Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import { useMe } from '../../app/me';
import { notifyDone } from '../../kit/notify';
import { Panel } from '../../kit/Page';
import { FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { label, t } from '../../messages/t';

const LOCALES = ['en', 'en-GB', 'en-US', 'de', 'de-AT', 'de-CH', 'fr', 'es', 'it', 'nl', 'pl', 'pt', 'sv'];

export function ProfileTab() {
  const me = useMe();
  const client = useQueryClient();
  const form = useForm({ initialValues: { name: me.name, locale: me.locale } });
  const { busy, error, submit } = useSubmit(form);

  const save = form.onSubmit((values) =>
    submit(async () => {
      await ok(api.PATCH('/api/v1/auth/me', { body: { version: me.version, ...values } }));
      await client.invalidateQueries({ queryKey: ['me'] });
      form.resetDirty();
      notifyDone(t('kit.saved'));
    }),
  );

  return (
    <Stack gap="md">
      <Panel title={t('profile.tabProfile')}>
        <form onSubmit={save}>
          <Stack gap="md" maw={420}>
            <TextInput label={t('fields.name')} required maxLength={120} {...form.getInputProps('name')} />
            <Select label={t('profile.locale')} data={[...new Set([me.locale, ...LOCALES])].map((code) => ({ value: code, label: localeName(code) }))} allowDeselect={false} searchable {...form.getInputProps('locale')} />
            <FormErrors error={error} />
            <Group>
              <Button type="submit" loading={busy} disabled={!form.isDirty()}>
                {t('kit.save')}
              </Button>
            </Group>
          </Stack>
        </form>
      </Panel>
      <Panel title={t('profile.permissions')}>
        <Group gap="xs" mb="sm">
          {me.grants.map((grant) => (
            <Badge key={grant.role} size="md">
              {label('roles', grant.role)} · {grant.all_tenants ? t('nav.allTenants') : t('profile.tenantCount', { n: grant.tenant_ids?.length ?? 1 })}
            </Badge>
          ))}
        </Group>
        <Text size="xs" c="dimmed" className="mono">
          {me.permissions.join(' · ')}
        </Text>
      </Panel>
    </Stack>
  );
}

function localeName(code: string): string {
  try {
    return `${new Intl.DisplayNames([code], { type: 'language' }).of(code) ?? code} (${code})`;
  } catch {
    return code;
  }
}
