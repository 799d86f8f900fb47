import { expect, test } from 'vitest';
import { keyOf } from './CustomFieldDialog';

test.each([
  ['Asset number', 'asset_number'],
  ['  Größe (cm) ', 'grosse_cm'],
  ['2nd contact', 'nd_contact'],
  ['!!!', ''],
])('the key made of "%s" is one the server takes', (label, key) => {
  expect(keyOf(label)).toBe(key);
});
