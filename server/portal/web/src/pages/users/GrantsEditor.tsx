import { ActionIcon, Button, Group, Paper, Select, SegmentedControl, Stack, Text } from '@mantine/core';
import { IconPlus, IconTrash } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { Schema } from '../../api/types';
import { TenantsSelect } from '../../kit/TenantsSelect';
import { label, t } from '../../messages/t';
import { CUSTOMER_ROLES, STAFF_ROLES, type RoleName } from './roles';

type Grant = Schema<'Grant'>;

type Props = { value: Grant[]; onChange: (grants: Grant[]) => void; staff: boolean; errors: Record<string, ReactNode> };

/** A role that reaches as little as it can, to begin with. */
export const newGrant = (staff: boolean): Grant => (staff ? { role: 'technician', all_tenants: false, tenant_ids: [] } : { role: 'customer_user', all_tenants: false });

/** What somebody may do, and for which clients: staff over all or named ones, customers in their own. */
export function GrantsEditor({ value, onChange, staff, errors }: Props) {
  const roles = staff ? STAFF_ROLES : CUSTOMER_ROLES;
  const set = (i: number, changes: Partial<Grant>) => onChange(value.map((grant, k) => (k === i ? { ...grant, ...changes } : grant)));
  return (
    <Stack gap="sm" role="group" aria-label={t('users.roles')}>
      {value.map((grant, i) => (
        <Paper key={i} withBorder p="sm">
          <Stack gap="xs">
            <Group gap="sm" wrap="nowrap" align="flex-end">
              <Select label={t('users.role')} allowDeselect={false} flex={1} data={roles.map((role) => ({ value: role, label: label('roles', role) }))} value={grant.role} onChange={(role) => role && set(i, { role: role as RoleName })} error={errors[`grants.${i}.role`]} />
              <ActionIcon mb={4} aria-label={t('users.removeRole', { role: label('roles', grant.role) })} onClick={() => onChange(value.filter((_, k) => k !== i))}>
                <IconTrash size={16} />
              </ActionIcon>
            </Group>
            {staff && (
              <>
                <SegmentedControl
                  aria-label={t('users.reach')}
                  value={grant.all_tenants ? 'all' : 'named'}
                  onChange={(next) => onChange(value.map((each, k) => (k === i ? (next === 'all' ? { role: each.role, all_tenants: true } : { role: each.role, all_tenants: false, tenant_ids: [] }) : each)))}
                  data={[
                    { value: 'all', label: t('nav.allTenants') },
                    { value: 'named', label: t('users.named') },
                  ]}
                />
                {!grant.all_tenants && <TenantsSelect required value={grant.tenant_ids ?? []} onChange={(tenant_ids) => set(i, { tenant_ids })} error={errors[`grants.${i}.tenant_ids`] ?? errors[`grants.${i}`]} />}
              </>
            )}
          </Stack>
        </Paper>
      ))}
      {value.length === 0 && (
        <Text size="sm" c="dimmed">
          {t('users.noRoles')}
        </Text>
      )}
      <div>
        <Button variant="default" leftSection={<IconPlus size={14} />} onClick={() => onChange([...value, newGrant(staff)])}>
          {t('users.addRole')}
        </Button>
      </div>
    </Stack>
  );
}
