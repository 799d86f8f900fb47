import { Badge, Button, Group, NumberInput, SimpleGrid, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useCan } from '../../app/me';
import { Loaded } from '../../kit/Loaded';
import { Panel } from '../../kit/Page';
import { FormErrors } from '../../kit/States';
import { t } from '../../messages/t';
import { useSettings } from './useSettings';

type Document = Schema<'JobSettingsDocument'>;

/** How far one job may reach before a second person must approve it; a client's own, or the provider's for all. */
export function JobLimits({ tenantId = PROVIDER_ID }: { tenantId?: string }) {
  const query = { tenant_id: tenantId };
  const settings = useQuery({ queryKey: ['settings', 'jobs', tenantId], queryFn: ({ signal }) => ok(api.GET('/api/v1/settings/jobs', { params: { query }, signal })) });
  return (
    <Panel title={t('settings.jobs')} actions={settings.data?.inherited && tenantId !== PROVIDER_ID && <Badge color="gray">{t('settings.inherited')}</Badge>}>
      <Loaded query={settings} rows={2}>
        {(document) => <Editor key={`${document.version}-${document.inherited}`} document={document} tenantId={tenantId} />}
      </Loaded>
    </Panel>
  );
}

function Editor({ document, tenantId }: { document: Document; tenantId: string }) {
  const manages = useCan()('settings.manage');
  const { form, busy, error, save, shown } = useSettings(document.value, (value) => ok(api.PUT('/api/v1/settings/jobs', { params: { query: { tenant_id: tenantId } }, body: { version: document.version, value } })));
  const field = (name: keyof typeof document.value, min: number, max: number) => (
    <NumberInput label={t(`settings.${name}`)} description={t(`settings.${name}_hint`)} required allowDecimal={false} thousandSeparator=" " min={min} max={max} disabled={!manages} {...form.getInputProps(name)} />
  );
  return (
    <form onSubmit={save}>
      <Stack gap="md">
        <Text size="sm" c="dimmed">
          {t(tenantId === PROVIDER_ID ? 'settings.jobsBody' : 'settings.jobsTenantBody')}
        </Text>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          {field('max_devices', 1, 1_000_000)}
          {field('max_tenants', 1, 100_000)}
          {field('canary_percent', 0, 100)}
          {field('stop_failure_percent', 0, 100)}
        </SimpleGrid>
        <FormErrors error={error} shown={shown} />
        {manages && (
          <Group>
            <Button type="submit" loading={busy} disabled={!form.isDirty() && !document.inherited}>
              {document.inherited && tenantId !== PROVIDER_ID ? t('settings.setOwn') : t('kit.save')}
            </Button>
          </Group>
        )}
      </Stack>
    </form>
  );
}
