import { Badge, Code, Group, Stack, Table, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { show } from '../../kit/diff';
import { Link } from '../../kit/Link';
import { Panel } from '../../kit/Page';
import { EmptyState, ErrorState, PageSkeleton } from '../../kit/States';
import { label, t } from '../../messages/t';

/** What holds for the device, and which policy each value comes from. */
export function PolicyTab({ device }: { device: Device }) {
  const policies = useQuery({ queryKey: ['policies', 'effective', device.id], queryFn: ({ signal }) => ok(api.GET('/api/v1/devices/{id}/policies', { params: { path: { id: device.id } }, signal })) });
  if (policies.isError) return <ErrorState error={policies.error} retry={() => void policies.refetch()} />;
  if (!policies.data) return <PageSkeleton rows={3} />;
  if (policies.data.items.length === 0) return <EmptyState title={t('devices.noPolicies')} />;
  return (
    <Stack gap="md">
      {policies.data.items.map((policy) => (
        <Panel key={policy.kind} title={label('policyKinds', policy.kind)} flush>
          <Table verticalSpacing="xs" horizontalSpacing="md" fz="sm">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>{t('kit.field')}</Table.Th>
                <Table.Th>{t('filter.value')}</Table.Th>
                <Table.Th>{t('devices.origin')}</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {policy.fields.map((field) => (
                <Table.Tr key={field.field}>
                  <Table.Td>{label('policyFields', field.field)}</Table.Td>
                  <Table.Td>
                    <Code>{show(field.value)}</Code>
                  </Table.Td>
                  <Table.Td>
                    <Group gap="xs">
                      <Badge color="gray">{label('policyScopes', field.origin.scope)}</Badge>
                      {field.origin.policy_id ? <Link to={`/policies?policy=${field.origin.policy_id}`}>{field.origin.name}</Link> : <Text size="sm">{field.origin.name}</Text>}
                    </Group>
                  </Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </Panel>
      ))}
    </Stack>
  );
}
