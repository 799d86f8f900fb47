import { Badge, Button, Group, SimpleGrid, Stack, Table, Tabs, Text } from '@mantine/core';
import { IconArchive, IconArchiveOff, IconPencil, IconPlayerPlay } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Script } from '../../api/types';
import { PROVIDER_ID, useCan } from '../../app/me';
import { useGo, useTenantId } from '../../app/tenant';
import { useConfirm } from '../../kit/Confirm';
import { CodeBlock } from '../../kit/Copy';
import { duration } from '../../kit/format';
import { Facts, Page, Panel } from '../../kit/Page';
import { ErrorState, PageSkeleton } from '../../kit/States';
import { StateBadge } from '../../kit/StateBadge';
import { TenantName } from '../../kit/TenantName';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { RunDialog } from '../jobs/RunDialog';
import { scriptQuery } from '../jobs/WorkEditor';
import { ScriptVersions } from './ScriptVersions';

const crumbs = [{ label: t('scripts.title'), to: '/scripts' }];

export function Component() {
  const { id = '' } = useParams();
  const script = useQuery(scriptQuery(id));
  if (script.isError) {
    return (
      <Page title={t('fields.script')} crumbs={crumbs}>
        <ErrorState error={script.error} retry={() => void script.refetch()} />
      </Page>
    );
  }
  if (!script.data) {
    return (
      <Page title={t('fields.script')} crumbs={crumbs}>
        <PageSkeleton />
      </Page>
    );
  }
  return <ScriptView script={script.data} />;
}

function ScriptView({ script }: { script: Script }) {
  const [url, setUrl] = useUrlState();
  return (
    <Page
      title={script.name}
      crumbs={crumbs}
      badge={script.archived ? <StateBadge state="archived" /> : undefined}
      subtitle={
        <>
          {t('scripts.number', { n: script.number })} · {t('fields.updated')} <TimeAgo at={script.updated_at} />
        </>
      }
      actions={<Acts script={script} />}
    >
      {script.description && <Text size="sm">{script.description}</Text>}
      <Tabs value={url.tab ?? 'script'} onChange={(tab) => setUrl({ tab: tab === 'script' ? undefined : (tab ?? undefined) }, true)}>
        <Tabs.List mb="md">
          <Tabs.Tab value="script">{t('fields.script')}</Tabs.Tab>
          <Tabs.Tab value="versions">{t('scripts.versions')}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="script">
          <Stack gap="md">
            <Panel>
              <Facts
                items={[
                  [t('scripts.interpreter'), label('interpreters', script.interpreter)],
                  [
                    t('scripts.platforms'),
                    <Group key="p" gap={4}>
                      {script.platforms.map((each) => (
                        <Badge key={each} color="gray">
                          {label('os', each)}
                        </Badge>
                      ))}
                    </Group>,
                  ],
                  [t('scripts.timeout'), duration(script.timeout_seconds)],
                  [t('scripts.runAs'), label('runAs', script.run_as)],
                  [t('scripts.owner'), script.tenant_id === PROVIDER_ID ? t('scripts.forAll') : <TenantName key="t" id={script.tenant_id} />],
                  [t('fields.createdBy'), script.created_by],
                ]}
              />
            </Panel>
            {script.parameters.length > 0 && <Parameters script={script} />}
            <CodeBlock code={script.body} label={t('scripts.body')} maxHeight={560} />
          </Stack>
        </Tabs.Panel>
        <Tabs.Panel value="versions">
          <ScriptVersions script={script} />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function Parameters({ script }: { script: Script }) {
  return (
    <Panel title={t('scripts.parameters')} flush>
      <Table.ScrollContainer minWidth={560} type="native">
        <Table verticalSpacing={6} horizontalSpacing="md" fz="sm">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t('scripts.parameterName')}</Table.Th>
              <Table.Th>{t('scripts.parameterType')}</Table.Th>
              <Table.Th>{t('scripts.defaultValue')}</Table.Th>
              <Table.Th>{t('fields.description')}</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {script.parameters.map((each) => (
              <Table.Tr key={each.name}>
                <Table.Td>
                  <SimpleGrid cols={1} spacing={0}>
                    <Text size="sm" fw={550}>
                      {each.label || each.name}
                      {each.required && ' *'}
                    </Text>
                    <Text size="xs" c="dimmed" className="mono">
                      REEVE_PARAM_{each.name.toUpperCase()}
                    </Text>
                  </SimpleGrid>
                </Table.Td>
                <Table.Td>{label('parameterTypes', each.type)}</Table.Td>
                <Table.Td className="mono">{each.default || '–'}</Table.Td>
                <Table.Td>{each.description || (each.options ?? []).join(', ')}</Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Panel>
  );
}

function Acts({ script }: { script: Script }) {
  const can = useCan();
  const go = useGo();
  const tenant = useTenantId();
  const confirm = useConfirm();
  const { act, busy } = useAct('scripts');
  const [running, setRunning] = useState(false);

  async function archive() {
    if (!script.archived && !(await confirm({ title: t('scripts.archiveTitle', { name: script.name }), body: t('scripts.archiveBody'), confirm: t('scripts.archive') }))) return;
    await act(() => ok(api.PATCH('/api/v1/scripts/{id}', { params: { path: { id: script.id } }, body: { version: script.version, archived: !script.archived } })), t('kit.saved'));
  }

  return (
    <>
      {can('scripts.manage') && (
        <>
          <Button variant="default" leftSection={script.archived ? <IconArchiveOff size={15} /> : <IconArchive size={15} />} loading={busy} onClick={() => void archive()}>
            {script.archived ? t('scripts.restore') : t('scripts.archive')}
          </Button>
          <Button variant="default" leftSection={<IconPencil size={15} />} onClick={() => go(`/scripts/${script.id}/edit`)}>
            {t('kit.edit')}
          </Button>
        </>
      )}
      {can('jobs.run') && !script.archived && (
        <Button leftSection={<IconPlayerPlay size={15} />} onClick={() => setRunning(true)}>
          {t('scripts.run')}
        </Button>
      )}
      {running && <RunDialog targets={tenant ? { tenant_id: tenant } : { device_ids: [] }} work={{ kind: 'script.run', payload: { script_id: script.id } }} onClose={() => setRunning(false)} />}
    </>
  );
}
