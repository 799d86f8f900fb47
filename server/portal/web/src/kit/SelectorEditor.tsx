import { Alert, Input, SegmentedControl, Stack } from '@mantine/core';
import { IconAlertTriangle } from '@tabler/icons-react';
import { useMediaQuery } from '@mantine/hooks';
import { useState, type ReactNode } from 'react';
import type { Targets } from '../api/types';
import { useMe } from '../app/me';
import { t } from '../messages/t';
import { FilterBuilder } from './FilterBuilder';
import { DevicesSelect, SiteSelect, TagSelect, TenantSelect } from './pickers';
import { complete, newTerm } from './filterModel';

type Mode = 'devices' | 'site' | 'tenant' | 'tag' | 'filter' | 'all';

type Props = {
  value: Targets;
  onChange: (targets: Targets) => void;
  error?: ReactNode;
  label?: ReactNode;
  /** What belongs to one client may only reach its devices. */
  tenantId?: string | undefined;
};

/** Chooses devices: by name, site, client, tag, filter, or all of them. */
export function SelectorEditor({ value, onChange, error, label = t('selector.label'), tenantId }: Props) {
  const { all_tenants: reachesAll } = useMe();
  const narrow = useMediaQuery('(max-width: 36em)', false, { getInitialValueInEffect: false });
  const [mode, setMode] = useState<Mode>(() => modeOf(value));
  const within = tenantId ? { tenant_id: tenantId } : {};

  function choose(next: Mode) {
    setMode(next);
    const empty: Record<Mode, Targets> = {
      devices: { device_ids: [] },
      site: { ...within },
      tenant: { ...within },
      tag: { ...within },
      filter: { filter: { all: [newTerm()] }, ...within },
      all: { all_tenants: true },
    };
    onChange(empty[next]);
  }

  const modes: Mode[] = ['devices', 'tag', 'filter', 'site', 'tenant', ...(reachesAll && !tenantId ? (['all'] as const) : [])];
  const tenantValue = value.tenant_id ?? null;
  const setTenant = (id: string | null) => {
    const { tenant_id: _, ...rest } = value;
    onChange(id ? { ...rest, tenant_id: id } : rest);
  };
  const narrowing = !tenantId && (mode === 'tag' || mode === 'filter');

  return (
    <Input.Wrapper label={label} error={error} size="sm" labelElement="div">
      <Stack gap="sm" mt={4}>
        <SegmentedControl
          value={mode}
          onChange={(next) => choose(next as Mode)}
          orientation={narrow ? 'vertical' : 'horizontal'}
          fullWidth
          data={modes.map((each) => ({ value: each, label: t(`selector.${each}`) }))}
          aria-label={t('selector.label')}
        />
        {mode === 'devices' && <DevicesSelect value={value.device_ids ?? []} onChange={(device_ids) => onChange({ device_ids })} tenantId={tenantId} />}
        {mode === 'site' && <SiteSelect required tenantId={tenantId ?? null} value={value.site_id ?? null} onChange={(id) => onChange(id ? { site_id: id } : {})} />}
        {mode === 'tenant' && !tenantId && <TenantSelect required value={tenantValue} onChange={setTenant} />}
        {mode === 'tag' && <TagSelect required value={value.tag ?? null} onChange={(tag) => onChange({ ...(value.tenant_id ? { tenant_id: value.tenant_id } : {}), ...(tag ? { tag } : {}) })} />}
        {mode === 'filter' && <FilterBuilder value={value.filter ?? { all: [] }} onChange={(filter) => onChange({ ...value, filter })} />}
        {narrowing && <TenantSelect label={t('selector.onlyTenant')} clearable value={tenantValue} onChange={setTenant} />}
        {mode === 'all' && (
          <Alert color="yellow" icon={<IconAlertTriangle size={18} />}>
            {t('selector.allWarning')}
          </Alert>
        )}
      </Stack>
    </Input.Wrapper>
  );
}

function modeOf(value: Targets): Mode {
  if (value.filter) return 'filter';
  if (value.tag) return 'tag';
  if (value.site_id) return 'site';
  if (value.all_tenants) return 'all';
  if (value.tenant_id) return 'tenant';
  return 'devices';
}

/** The targets as they can be sent, or undefined while something is missing. */
export function completeTargets(value: Targets): Targets | undefined {
  if (value.filter) {
    const filter = complete(value.filter);
    return filter && { ...value, filter };
  }
  if (value.device_ids) return value.device_ids.length > 0 ? { device_ids: value.device_ids } : undefined;
  return value.tag || value.site_id || value.all_tenants || value.tenant_id ? value : undefined;
}
