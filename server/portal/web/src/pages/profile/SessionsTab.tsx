import { ActionIcon, Badge, Button, Group, Stack, Table, Text, Tooltip } from '@mantine/core';
import { IconX } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { api, ok, session } from '../../api/client';
import { useConfirm } from '../../kit/Confirm';
import { Panel } from '../../kit/Page';
import { ErrorState, PageSkeleton } from '../../kit/States';
import { TimeAgo } from '../../kit/TimeAgo';
import { plain } from '../../kit/safeText';
import { useAct } from '../../kit/useAct';
import { t } from '../../messages/t';

export function SessionsTab() {
  const confirm = useConfirm();
  const { act, busy } = useAct('sessions');
  const sessions = useQuery({ queryKey: ['sessions'], queryFn: ({ signal }) => ok(api.GET('/api/v1/auth/sessions', { signal })) });

  async function endAll() {
    if (await confirm({ title: t('profile.endAll'), body: t('profile.endAllBody'), confirm: t('profile.endAll'), danger: true })) await session.logout(true);
  }

  if (sessions.isError) return <ErrorState error={sessions.error} retry={() => void sessions.refetch()} />;
  if (!sessions.data) return <PageSkeleton rows={3} />;
  return (
    <Panel
      title={t('profile.sessions')}
      flush
      actions={
        <Button variant="default" color="red" onClick={() => void endAll()}>
          {t('profile.endAll')}
        </Button>
      }
    >
      <Table.ScrollContainer minWidth={520}>
        <Table verticalSpacing="xs" horizontalSpacing="md">
          <Table.Thead>
            <Table.Tr>
              <Table.Th>{t('profile.browser')}</Table.Th>
              <Table.Th w={150}>{t('profile.addresses')}</Table.Th>
              <Table.Th w={130}>{t('profile.lastUsed')}</Table.Th>
              <Table.Th w={50} />
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {sessions.data.items.map((each) => (
              <Table.Tr key={each.id}>
                <Table.Td>
                  <Stack gap={2}>
                    <Text size="sm" className="foreign" lineClamp={2}>
                      {plain(each.user_agent)}
                    </Text>
                    {each.current && (
                      <Group>
                        <Badge color="teal">{t('profile.thisSession')}</Badge>
                      </Group>
                    )}
                  </Stack>
                </Table.Td>
                <Table.Td className="mono">{each.address}</Table.Td>
                <Table.Td>
                  <TimeAgo at={each.last_used_at} />
                </Table.Td>
                <Table.Td>
                  {!each.current && (
                    <Tooltip label={t('profile.endSession')}>
                      <ActionIcon aria-label={t('profile.endSession')} disabled={busy} onClick={() => void act(() => ok(api.DELETE('/api/v1/auth/sessions/{id}', { params: { path: { id: each.id } } })), t('profile.sessionEnded'))}>
                        <IconX size={16} />
                      </ActionIcon>
                    </Tooltip>
                  )}
                </Table.Td>
              </Table.Tr>
            ))}
          </Table.Tbody>
        </Table>
      </Table.ScrollContainer>
    </Panel>
  );
}
