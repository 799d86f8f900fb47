import { Code, Progress, Table, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import { bytes, duration, exactTime, number } from '../../kit/format';
import { Facts } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { label, t } from '../../messages/t';

const MAX_ROWS = 500;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A section of the inventory: lists as tables, values by name. Which fields there are is the endpoint's to say. */
export function SectionData({ data }: { data: unknown }) {
  if (Array.isArray(data)) return <Rows rows={data} />;
  if (isObject(data)) {
    // A section may be one list under a name: {"items": [...]}.
    const entries = Object.entries(data);
    const lists = entries.filter(([, value]) => Array.isArray(value) && value.some(isObject));
    const rest = entries.filter(([key]) => !lists.some(([name]) => name === key));
    return (
      <>
        {rest.length > 0 && (
          <div style={{ padding: '0.9rem 1rem' }}>
            <Facts items={rest.flatMap(([key, value]) => facts(label('inventory', key), key, value))} />
          </div>
        )}
        {lists.map(([key, value]) => (
          <div key={key}>
            {entries.length > 1 && (
              <Text size="xs" fw={600} px="md" pt="xs">
                {label('inventory', key)}
              </Text>
            )}
            <Rows rows={value as unknown[]} />
          </div>
        ))}
      </>
    );
  }
  return (
    <Text size="sm" p="md" className="foreign">
      <Value name="" value={data} />
    </Text>
  );
}

// An object within a section reads as "Board: manufacturer"; what is unknown in it is left out.
function facts(title: string, key: string, value: unknown): (readonly [string, ReactNode])[] {
  if (!isObject(value)) return [[title, <Value key={title} name={key} value={value} />]];
  return Object.entries(value)
    .filter(([, each]) => each !== null && each !== '')
    .flatMap(([name, each]) => facts(`${title}: ${label('inventory', name).toLowerCase()}`, name, each));
}

function Rows({ rows }: { rows: unknown[] }) {
  if (rows.length === 0) {
    return (
      <Text size="sm" c="dimmed" p="md">
        {t('kit.none')}
      </Text>
    );
  }
  const objects = rows.filter(isObject);
  if (objects.length === 0) {
    return (
      <Text size="sm" p="md" className="foreign">
        {rows.map((each) => plain(String(each))).join(', ')}
      </Text>
    );
  }
  const columns = [...new Set(objects.flatMap((row) => Object.keys(row)))];
  const used = columns.find((each) => each === 'used_percent') ?? null;
  return (
    <Table.ScrollContainer minWidth={Math.min(900, columns.length * 120)} type="native">
      <Table verticalSpacing={6} horizontalSpacing="md" fz="sm">
        <Table.Thead>
          <Table.Tr>
            {columns.map((each) => (
              <Table.Th key={each}>{label('inventory', each)}</Table.Th>
            ))}
            {!used && columns.includes('size_bytes') && columns.includes('free_bytes') && <Table.Th w={160}>{t('devices.used')}</Table.Th>}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {objects.slice(0, MAX_ROWS).map((row, i) => (
            <Table.Tr key={i}>
              {columns.map((each) => (
                <Table.Td key={each} className="foreign">
                  <Value name={each} value={row[each]} />
                </Table.Td>
              ))}
              {!used && typeof row.size_bytes === 'number' && typeof row.free_bytes === 'number' && (
                <Table.Td>
                  <Usage percent={(1 - row.free_bytes / Math.max(1, row.size_bytes)) * 100} />
                </Table.Td>
              )}
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
      {objects.length > MAX_ROWS && (
        <Text size="xs" c="dimmed" p="md">
          {t('devices.rowsLeftOut', { n: objects.length - MAX_ROWS })}
        </Text>
      )}
    </Table.ScrollContainer>
  );
}

function Usage({ percent }: { percent: number }) {
  const rounded = Math.round(Math.max(0, Math.min(100, percent)));
  return (
    <div style={{ display: 'flex', alignItems: 'center', gap: 8 }}>
      <Progress value={rounded} color={rounded > 90 ? 'red.6' : rounded > 80 ? 'yellow.6' : 'ink.5'} size={6} flex={1} aria-label={t('devices.used')} />
      <Text size="xs" className="tnum" w={34} ta="right">
        {rounded} %
      </Text>
    </div>
  );
}

function Value({ name, value }: { name: string; value: unknown }): ReactNode {
  if (value === null || value === undefined || value === '') return '–';
  if (typeof value === 'boolean') return value ? t('kit.yes') : t('kit.no');
  if (typeof value === 'number') {
    if (name === 'used_percent') return <Usage percent={value} />;
    if (/(^|_)bytes$/.test(name)) return bytes(value);
    if (/_seconds$/.test(name)) return duration(value);
    if (/(^|_)(uid|gid|pid|id|port|year)$/.test(name)) return String(value);
    return number(value);
  }
  if (typeof value === 'string') {
    if (/_at$/.test(name) && !Number.isNaN(Date.parse(value))) return exactTime(value);
    return plain(value);
  }
  if (Array.isArray(value) && !value.some((each) => typeof each === 'object' && each !== null)) return plain(value.join(', '));
  return <Code fz="xs">{plain(JSON.stringify(value))}</Code>;
}
