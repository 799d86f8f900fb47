export type Change = { op: 'added' | 'removed' | 'changed'; path: string; before?: unknown; after?: unknown };

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What differs between two JSON values, leaf by leaf, in the order of their keys. Lists of plain values are one leaf. */
export function diff(before: unknown, after: unknown, path = ''): Change[] {
  if (isObject(before) && isObject(after)) {
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((key) => diff(before[key], after[key], path ? `${path}.${key}` : key));
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (before === undefined || before === null) return isObject(after) ? leaves(after, path, 'added') : [{ op: 'added', path, after }];
  if (after === undefined || after === null) return isObject(before) ? leaves(before, path, 'removed') : [{ op: 'removed', path, before }];
  return [{ op: 'changed', path, before, after }];
}

function leaves(value: Record<string, unknown>, path: string, op: 'added' | 'removed'): Change[] {
  return Object.entries(value).flatMap(([key, each]) => {
    const at = path ? `${path}.${key}` : key;
    if (isObject(each)) return leaves(each, at, op);
    return [op === 'added' ? { op, path: at, after: each } : { op, path: at, before: each }];
  });
}

/** A value as one reads it: text bare, everything else as JSON. */
export const show = (value: unknown): string => (typeof value === 'string' ? value : value === undefined ? '' : JSON.stringify(value));
