import type { Schema } from '../../api/types';
import { duration } from '../../kit/format';
import { label, t } from '../../messages/t';

export type Policy = Schema<'Policy'>;
export type Scope = Schema<'PolicyScope'>;

/** From far to near: the nearest wins. */
export const SCOPES: Scope[] = ['provider', 'tenant', 'site', 'tag', 'device'];

/** What an endpoint policy can set; what is absent is inherited. */
export type EndpointSpec = { sync_interval_seconds?: number; inventory_interval_seconds?: number; scripts_allowed?: boolean };

/** What a policy sets, in words. */
export function specText(spec: Record<string, unknown>): string {
  return Object.entries(spec)
    .map(([field, value]) => `${label('policySettings', field)}: ${valueText(field, value)}`)
    .join(' · ');
}

export function valueText(field: string, value: unknown): string {
  if (typeof value === 'boolean') return value ? t('kit.yes') : t('kit.no');
  if (typeof value === 'number' && field.endsWith('_seconds')) return duration(value);
  return typeof value === 'string' ? value : JSON.stringify(value);
}
