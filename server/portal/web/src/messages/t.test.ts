import { expect, test } from 'vitest';
import { label, setLocale, t } from './t';

test('numbers are written and counted in the locale', () => {
  setLocale('de-DE');
  expect(t('kit.rows', { n: 1 })).toBe('1 row');
  expect(t('kit.rows', { n: 10_000 })).toBe('10.000 rows');
  setLocale('no such locale');
  expect(t('kit.rows', { n: 10_000 })).toBe('10.000 rows');
  setLocale('en');
});

test('a name nobody foresaw is made readable', () => {
  expect(label('states', 'timed_out')).toBe('Timed out');
  expect(label('states', 'something_new')).toBe('Something new');
});
