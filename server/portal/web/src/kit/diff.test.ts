import { expect, test } from 'vitest';
import { diff } from './diff';
import { lineDiff } from './lineDiff';

test('changes are found leaf by leaf', () => {
  expect(diff({ name: 'a', same: 1, deep: { x: 1, y: 2 }, tags: ['a'] }, { name: 'b', same: 1, deep: { x: 1, z: 3 }, tags: ['a', 'b'] })).toEqual([
    { op: 'changed', path: 'name', before: 'a', after: 'b' },
    { op: 'removed', path: 'deep.y', before: 2 },
    { op: 'added', path: 'deep.z', after: 3 },
    { op: 'changed', path: 'tags', before: ['a'], after: ['a', 'b'] },
  ]);
});

test('something new shows all of its fields', () => {
  expect(diff(null, { a: 1, b: { c: 2 } })).toEqual([
    { op: 'added', path: 'a', after: 1 },
    { op: 'added', path: 'b.c', after: 2 },
  ]);
});

test('nothing against nothing is no difference', () => {
  expect(diff(null, null)).toEqual([]);
});

test('lines are compared in their order', () => {
  expect(lineDiff('a\nb\nc', 'a\nx\nc\nd').map((line) => `${line.op[0]}${line.text}`)).toEqual(['sa', 'rb', 'ax', 'sc', 'ad']);
  expect(lineDiff('', 'a')).toEqual([{ op: 'added', text: 'a' }]);
  expect(lineDiff('a', 'a')).toEqual([{ op: 'same', text: 'a' }]);
});
