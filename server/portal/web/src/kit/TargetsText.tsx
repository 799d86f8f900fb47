import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../api/client';
import type { FilterTerm, DeviceFilter, Targets } from '../api/types';
import { label, t } from '../messages/t';
import { groupOf, isGroup } from './filterModel';
import { Link } from './Link';

/** Targets in words. */
export function TargetsText({ targets }: { targets: Targets }) {
  const tenant = useQuery({
    queryKey: ['tenants', targets.tenant_id],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/tenants/{id}', { params: { path: { id: targets.tenant_id! } }, signal })),
    enabled: Boolean(targets.tenant_id),
    staleTime: 300_000,
  });
  const site = useQuery({
    queryKey: ['sites', targets.site_id],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/sites/{id}', { params: { path: { id: targets.site_id! } }, signal })),
    enabled: Boolean(targets.site_id),
    staleTime: 300_000,
  });
  const within = targets.tenant_id ? ` · ${tenant.data?.name ?? '…'}` : '';
  if (targets.all_tenants) return <>{t('targets.all')}</>;
  if (targets.tag) return <>{t('targets.tag', { tag: targets.tag }) + within}</>;
  if (targets.filter) return <>{filterText(targets.filter) + within}</>;
  if (targets.site_id) return <>{t('targets.site', { site: site.data ? `${site.data.tenant_name} · ${site.data.name}` : '…' })}</>;
  const only = targets.device_ids?.[0];
  if (only && targets.device_ids?.length === 1) return <Link to={`/devices/${only}`}>{t('targets.one')}</Link>;
  if (targets.device_ids) return <>{t('targets.devices', { n: targets.device_ids.length })}</>;
  return <>{t('targets.tenant', { tenant: tenant.data?.name ?? '…' })}</>;
}

/** A filter in words. */
export function filterText(filter: DeviceFilter | FilterTerm): string {
  const { join, terms } = groupOf(filter);
  return terms.map((term) => (isGroup(term) ? `(${filterText(term)})` : termText(term))).join(` ${t(join === 'all' ? 'targets.and' : 'targets.or')} `);
}

function termText(term: FilterTerm): string {
  const value = Array.isArray(term.value) ? term.value.join(', ') : term.value === undefined ? '' : String(term.value);
  const field = term.field === 'custom_field' ? (term.key ?? '') : label('filterFields', term.field ?? '');
  return [field, label('filterOps', term.op ?? ''), value].filter(Boolean).join(' ');
}
