import type { Schema } from '../api/types';
import type { DeviceFilter, FilterTerm } from '../api/types';

type Field = Schema<'FilterField'>;
export type Op = Schema<'FilterOp'>;

export type FieldKind = 'text' | 'choice' | 'tag' | 'software' | 'site' | 'custom';

export type FieldInfo = { field: Field; kind: FieldKind; ops: Op[]; options?: string[] };

const TEXT: Op[] = ['eq', 'ne', 'prefix', 'contains', 'set', 'unset'];
const CHOICE: Op[] = ['eq', 'ne', 'in'];

/** What can be compared, and how. */
export const FIELDS: FieldInfo[] = [
  { field: 'name', kind: 'text', ops: TEXT },
  { field: 'hostname', kind: 'text', ops: TEXT },
  { field: 'tag', kind: 'tag', ops: ['has', 'lacks'] },
  { field: 'presence', kind: 'choice', ops: CHOICE, options: ['online', 'overdue', 'offline', 'never'] },
  { field: 'state', kind: 'choice', ops: CHOICE, options: ['pending', 'active', 'quarantined'] },
  { field: 'os_family', kind: 'choice', ops: CHOICE, options: ['linux', 'windows', 'darwin', 'other'] },
  { field: 'os_name', kind: 'text', ops: TEXT },
  { field: 'os_version', kind: 'text', ops: TEXT },
  { field: 'kind', kind: 'choice', ops: CHOICE, options: ['server', 'workstation', 'laptop', 'virtual', 'container', 'unknown'] },
  { field: 'software', kind: 'software', ops: ['has', 'lacks'] },
  { field: 'site_id', kind: 'site', ops: ['eq', 'ne'] },
  { field: 'manufacturer', kind: 'text', ops: TEXT },
  { field: 'model', kind: 'text', ops: TEXT },
  { field: 'serial', kind: 'text', ops: TEXT },
  { field: 'address', kind: 'text', ops: ['eq', 'ne', 'prefix'] },
  { field: 'arch', kind: 'text', ops: ['eq', 'ne'] },
  { field: 'agent_version', kind: 'text', ops: TEXT },
  { field: 'zone', kind: 'text', ops: ['eq', 'ne', 'set', 'unset'] },
  { field: 'custom_field', kind: 'custom', ops: ['eq', 'ne', 'set', 'unset'] },
];

export const infoOf = (field: string | undefined): FieldInfo => FIELDS.find((each) => each.field === field) ?? FIELDS[0]!;

export const isGroup = (term: FilterTerm): boolean => term.all !== undefined || term.any !== undefined;

export const needsValue = (op: Op | undefined) => op !== 'set' && op !== 'unset';

/** The way a group joins its terms, and the terms. */
export function groupOf(filter: DeviceFilter | FilterTerm): { join: 'all' | 'any'; terms: FilterTerm[] } {
  return filter.any ? { join: 'any', terms: filter.any } : { join: 'all', terms: filter.all ?? [] };
}

export const newTerm = (): FilterTerm => ({ field: 'name', op: 'contains', value: '' });

/** Terms in the whole tree; the server takes at most 20. */
export function countTerms(filter: DeviceFilter | FilterTerm): number {
  return groupOf(filter).terms.reduce((sum, term) => sum + (isGroup(term) ? countTerms(term) : 1), 0);
}

const filled = (term: FilterTerm): boolean => {
  if (isGroup(term)) return groupOf(term).terms.length > 0;
  if (term.field === 'custom_field' && !term.key) return false;
  return !needsValue(term.op) || (Array.isArray(term.value) ? term.value.length > 0 : term.value !== undefined && term.value !== '');
};

/** The filter without terms that are not filled in yet; undefined when nothing is left. */
export function complete(filter: DeviceFilter): DeviceFilter | undefined {
  const { join, terms } = groupOf(filter);
  const kept = terms.map((term) => (isGroup(term) ? ((complete(term) ?? { [join]: [] }) as FilterTerm) : term)).filter(filled);
  return kept.length > 0 ? { [join]: kept } : undefined;
}

/** Reads a filter out of an address; anything else is no filter. */
export function parseFilter(text: string | undefined): DeviceFilter | undefined {
  if (!text) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && ('all' in value || 'any' in value)) return value as DeviceFilter;
  } catch {
    return undefined;
  }
  return undefined;
}
