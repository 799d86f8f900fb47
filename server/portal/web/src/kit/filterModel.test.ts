import { expect, test } from 'vitest';
import { complete, countTerms, parseFilter } from './filterModel';

test('terms that are not filled in yet are left out', () => {
  expect(
    complete({
      all: [
        { field: 'name', op: 'contains', value: '' },
        { field: 'tag', op: 'has', value: 'prod' },
        { any: [{ field: 'presence', op: 'in', value: [] }] },
        { field: 'serial', op: 'unset' },
        { field: 'custom_field', op: 'eq', value: 'x' },
      ],
    }),
  ).toEqual({ all: [{ field: 'tag', op: 'has', value: 'prod' }, { field: 'serial', op: 'unset' }] });
});

test('a filter with nothing in it is none', () => {
  expect(complete({ any: [{ field: 'name', op: 'eq', value: '' }] })).toBeUndefined();
});

test('terms are counted through the groups', () => {
  expect(countTerms({ all: [{ field: 'name', op: 'set' }, { any: [{ field: 'name', op: 'set' }, { all: [{ field: 'name', op: 'set' }] }] }] })).toBe(3);
});

test('an address that holds no filter is no filter', () => {
  expect(parseFilter('{"x":1}')).toBeUndefined();
  expect(parseFilter('nonsense')).toBeUndefined();
  expect(parseFilter('{"all":[]}')).toEqual({ all: [] });
});
