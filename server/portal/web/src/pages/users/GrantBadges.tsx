import { Badge, Group, Text, Tooltip } from '@mantine/core';
import type { Schema } from '../../api/types';
import { TenantName } from '../../kit/TenantName';
import { label, t } from '../../messages/t';

type Grant = Schema<'Grant'>;

const reachOf = (grant: Grant) => (grant.all_tenants ? t('nav.allTenants') : grant.tenant_ids ? t('profile.tenantCount', { n: grant.tenant_ids.length }) : t('users.ownTenant'));

/** Roles in short; the reach shows on hover. */
export function GrantBadges({ grants }: { grants: Grant[] }) {
  if (grants.length === 0) return <>–</>;
  return (
    <Group gap={4} wrap="nowrap">
      {grants.map((grant, i) => (
        <Tooltip key={`${grant.role}${i}`} label={reachOf(grant)}>
          <Badge color={grant.role === 'owner' ? 'ink' : 'gray'}>{label('roles', grant.role)}</Badge>
        </Tooltip>
      ))}
    </Group>
  );
}

const SHOWN = 12;

/** Roles with the clients each holds for. */
export function GrantList({ grants }: { grants: Grant[] }) {
  if (grants.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        {t('users.noRoles')}
      </Text>
    );
  }
  return (
    <>
      {grants.map((grant, i) => (
        <Group key={`${grant.role}${i}`} gap="xs" py={5} align="baseline">
          <Text size="sm" fw={600} miw={170}>
            {label('roles', grant.role)}
          </Text>
          <Text size="sm" component="div" flex={1}>
            {grant.all_tenants || !grant.tenant_ids ? reachOf(grant) : <Names ids={grant.tenant_ids} />}
          </Text>
        </Group>
      ))}
    </>
  );
}

function Names({ ids }: { ids: string[] }) {
  return (
    <Group gap={4}>
      {ids.slice(0, SHOWN).map((id) => (
        <Badge key={id} color="gray">
          <TenantName id={id} />
        </Badge>
      ))}
      {ids.length > SHOWN && <span>{t('users.moreTenants', { n: ids.length - SHOWN })}</span>}
    </Group>
  );
}
