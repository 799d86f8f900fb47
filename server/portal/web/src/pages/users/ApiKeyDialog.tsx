import { Anchor, Checkbox, Fieldset, Group, SegmentedControl, Select, SimpleGrid, Stack, TagsInput, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { useMe } from '../../app/me';
import { CodeBlock } from '../../kit/Copy';
import { FormDialog } from '../../kit/FormDialog';
import { ShownOnce } from '../../kit/ShownOnce';
import { TenantsSelect } from '../../kit/TenantsSelect';
import { useSubmit } from '../../kit/useSubmit';
import { label, t } from '../../messages/t';
import { grouped } from './permissions';

const DAY = 86_400_000;
const LIFETIMES = ['7', '30', '90', '365', '730'];

type Values = { name: string; permissions: string[]; all_tenants: boolean; tenant_ids: string[]; allowed_networks: string[]; days: string };

/** Makes a key that may do a part of what its maker may, for a while; its secret is shown once. */
export function ApiKeyDialog({ onClose }: { onClose: () => void }) {
  const me = useMe();
  const client = useQueryClient();
  const form = useForm<Values>({ initialValues: { name: '', permissions: [], all_tenants: false, tenant_ids: me.is_staff ? [] : [me.tenant_id], allowed_networks: [], days: '90' } });
  const { busy, error, submit } = useSubmit(form);
  const [made, setMade] = useState<Schema<'ApiKeyCreated'>>();

  const save = form.onSubmit(({ days, tenant_ids, ...values }) =>
    submit(async () => {
      // A minute less, so that the longest lifetime is within the limit by any clock.
      const expires_at = new Date(Date.now() + Number(days) * DAY - 60_000).toISOString();
      setMade(await ok(api.POST('/api/v1/api-keys', { body: { ...values, expires_at, ...(values.all_tenants ? {} : { tenant_ids }) } })));
      await client.invalidateQueries({ queryKey: ['api-keys'] });
    }),
  );

  if (made) {
    return (
      <ShownOnce title={t('apiKeys.made', { name: made.api_key.name })} label={t('apiKeys.secret')} secret={made.secret} hint={t('apiKeys.secretHint')} onClose={onClose}>
        <div>
          <Text size="xs" c="dimmed" mb={4}>
            {t('apiKeys.example')}
          </Text>
          <CodeBlock code={`curl -H "Authorization: Bearer ${made.secret}" ${location.origin}/api/v1/version`} label={t('apiKeys.example')} />
        </div>
      </ShownOnce>
    );
  }
  const { permissions } = form.values;
  return (
    <FormDialog title={t('apiKeys.create')} onClose={onClose} onSubmit={save} busy={busy} error={error} shown={['name', 'tenant_ids', 'allowed_networks', 'permissions', 'expires_at']} submit={t('kit.create')} disabled={permissions.length === 0} size="xl">
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <TextInput label={t('fields.name')} description={t('apiKeys.nameHint')} required maxLength={120} {...form.getInputProps('name')} data-autofocus />
        <Select label={t('apiKeys.lifetime')} description={t('apiKeys.lifetimeHint')} allowDeselect={false} data={LIFETIMES.map((n) => ({ value: n, label: t('apiKeys.days', { n: Number(n) }) }))} {...form.getInputProps('days')} error={form.errors.expires_at} />
      </SimpleGrid>
      {me.is_staff && (
        <Stack gap="xs">
          <SegmentedControl
            aria-label={t('users.reach')}
            value={form.values.all_tenants ? 'all' : 'named'}
            onChange={(next) => form.setFieldValue('all_tenants', next === 'all')}
            data={[
              { value: 'named', label: t('users.named') },
              { value: 'all', label: t('nav.allTenants') },
            ]}
          />
          {!form.values.all_tenants && <TenantsSelect required value={form.values.tenant_ids} onChange={(ids) => form.setFieldValue('tenant_ids', ids)} error={form.errors.tenant_ids} />}
        </Stack>
      )}
      <TagsInput label={t('apiKeys.networks')} description={t('apiKeys.networksHint')} placeholder="192.0.2.0/24" maxTags={50} splitChars={[',', ' ']} {...form.getInputProps('allowed_networks')} />
      <Permissions value={permissions} onChange={(next) => form.setFieldValue('permissions', next)} held={me.permissions} error={form.errors.permissions} />
    </FormDialog>
  );
}

function Permissions({ value, onChange, held, error }: { value: string[]; onChange: (next: string[]) => void; held: string[]; error: React.ReactNode }) {
  const reading = held.filter((each) => each.endsWith('.read'));
  return (
    <Checkbox.Group label={t('apiKeys.permissions')} description={t('apiKeys.permissionsHint')} value={value} onChange={onChange} error={error}>
      <Group gap="md" mt="xs">
        <Anchor component="button" type="button" size="xs" onClick={() => onChange(reading)}>
          {t('apiKeys.onlyRead')}
        </Anchor>
        <Anchor component="button" type="button" size="xs" onClick={() => onChange([])}>
          {t('kit.clearSelection')}
        </Anchor>
      </Group>
      <SimpleGrid cols={{ base: 1, sm: 2, md: 3 }} spacing="sm" mt="xs">
        {grouped(held).map(([area, permissions]) => (
          <Fieldset key={area} legend={label('permissionAreas', area)} p="xs">
            <Stack gap={6}>
              {permissions.map((each) => (
                <Checkbox key={each} size="xs" value={each} label={label('permissions', each)} />
              ))}
            </Stack>
          </Fieldset>
        ))}
      </SimpleGrid>
    </Checkbox.Group>
  );
}
