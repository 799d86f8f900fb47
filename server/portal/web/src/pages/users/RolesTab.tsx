import { Badge, Group, SegmentedControl, Stack, Table, Text, Tooltip } from '@mantine/core';
import { IconCheck } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Fragment } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { Loaded } from '../../kit/Loaded';
import { Facts, Panel } from '../../kit/Page';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';
import { grouped } from './permissions';
import classes from './Roles.module.css';

type Role = Schema<'Role'>;

export const rolesQuery = () => ({ queryKey: ['roles'], queryFn: ({ signal }: { signal: AbortSignal }) => ok(api.GET('/api/v1/roles', { signal })), staleTime: 60_000 });

/** Every role beside every permission. */
export function RolesTab() {
  const [url, setUrl] = useUrlState();
  const staff = url.of !== 'customers';
  const roles = useQuery(rolesQuery());
  return (
    <Stack gap="md">
      <Group>
        <SegmentedControl
          aria-label={t('users.whose')}
          value={staff ? 'staff' : 'customers'}
          onChange={(next) => setUrl({ of: next === 'staff' ? undefined : next })}
          data={[
            { value: 'staff', label: t('users.staff') },
            { value: 'customers', label: t('users.customers') },
          ]}
        />
        <Text size="sm" c="dimmed">
          {t(staff ? 'users.staffHint' : 'users.customersHint')}
        </Text>
      </Group>
      <Loaded query={roles}>
        {({ items }) => {
          const shown = items.filter((role) => role.is_staff === staff);
          return (
            <>
              <Panel>
                <Facts items={shown.map((role) => [label('roles', role.name), role.description] as const)} />
              </Panel>
              <Matrix roles={shown} />
            </>
          );
        }}
      </Loaded>
    </Stack>
  );
}

function Matrix({ roles }: { roles: Role[] }) {
  const groups = grouped([...new Set(roles.flatMap((role) => role.permissions))]);
  return (
    <Panel flush>
      <div className={classes.scroller} tabIndex={0} role="region" aria-label={t('users.roles')}>
        <Table className={classes.matrix ?? ''} fz="sm" verticalSpacing={5} horizontalSpacing="sm">
          <Table.Thead>
            <Table.Tr>
              <Table.Th scope="col">{t('users.permission')}</Table.Th>
              {roles.map((role) => (
                <Table.Th key={role.name} scope="col">
                  {role.title || label('roles', role.name)}
                  {role.second_factor_required && (
                    <Tooltip label={t('users.factorRequired')}>
                      <Badge ml={4} size="xs">
                        2FA
                      </Badge>
                    </Tooltip>
                  )}
                </Table.Th>
              ))}
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>
            {groups.map(([area, permissions]) => (
              <Fragment key={area}>
                <Table.Tr className={classes.area ?? ''}>
                  <Table.Th colSpan={roles.length + 1} scope="colgroup">
                    {label('permissionAreas', area)}
                  </Table.Th>
                </Table.Tr>
                {permissions.map((permission) => (
                  <Table.Tr key={permission}>
                    <Table.Th scope="row">{label('permissions', permission)}</Table.Th>
                    {roles.map((role) => (
                      <Table.Td key={role.name} aria-label={role.permissions.includes(permission) ? t('kit.yes') : t('kit.no')}>
                        {role.permissions.includes(permission) ? <IconCheck size={16} aria-hidden /> : <span aria-hidden>·</span>}
                      </Table.Td>
                    ))}
                  </Table.Tr>
                ))}
              </Fragment>
            ))}
          </Table.Tbody>
        </Table>
      </div>
    </Panel>
  );
}
