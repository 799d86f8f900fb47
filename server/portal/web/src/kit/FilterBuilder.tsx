import { ActionIcon, Button, Group, MultiSelect, SegmentedControl, Select, Stack, TextInput } from '@mantine/core';
import { IconFolderPlus, IconPlus, IconTrash } from '@tabler/icons-react';
import type { DeviceFilter, FilterTerm } from '../api/types';
import { label, t } from '../messages/t';
import { FIELDS, countTerms, groupOf, infoOf, isGroup, needsValue, newTerm, type Op } from './filterModel';
import { SiteSelect, TagSelect } from './pickers';
import classes from './FilterBuilder.module.css';

const MAX_DEPTH = 3;
const MAX_TERMS = 20;

/** Builds a device filter: conditions joined by all or any, nested up to three deep. */
export function FilterBuilder({ value, onChange }: { value: DeviceFilter; onChange: (filter: DeviceFilter) => void }) {
  return <GroupEditor value={value} onChange={onChange} depth={1} full={countTerms(value) >= MAX_TERMS} />;
}

function GroupEditor({ value, onChange, onRemove, depth, full }: { value: DeviceFilter | FilterTerm; onChange: (next: DeviceFilter) => void; onRemove?: () => void; depth: number; full: boolean }) {
  const { join, terms } = groupOf(value);
  const set = (next: FilterTerm[], by: 'all' | 'any' = join) => onChange({ [by]: next });

  return (
    <fieldset className={classes.group}>
      <legend className="visually-hidden">{t('filter.group')}</legend>
      <Group justify="space-between" mb={8}>
        <SegmentedControl
          value={join}
          onChange={(by) => set(terms, by as 'all' | 'any')}
          aria-label={t('filter.join')}
          data={[
            { value: 'all', label: t('filter.all') },
            { value: 'any', label: t('filter.any') },
          ]}
        />
        {onRemove && (
          <ActionIcon aria-label={t('filter.removeGroup')} onClick={onRemove}>
            <IconTrash size={15} />
          </ActionIcon>
        )}
      </Group>
      <Stack gap={8}>
        {terms.map((term, i) => {
          const replace = (next: FilterTerm) => set(terms.map((each, k) => (k === i ? next : each)));
          const remove = () => set(terms.filter((_, k) => k !== i));
          return isGroup(term) ? (
            <GroupEditor key={i} value={term} onChange={replace} onRemove={remove} depth={depth + 1} full={full} />
          ) : (
            <TermEditor key={i} value={term} onChange={replace} onRemove={remove} />
          );
        })}
      </Stack>
      <Group gap="xs" mt={8}>
        <Button variant="subtle" size="compact-xs" leftSection={<IconPlus size={13} />} disabled={full} onClick={() => set([...terms, newTerm()])}>
          {t('filter.addTerm')}
        </Button>
        {depth < MAX_DEPTH && (
          <Button variant="subtle" color="gray" size="compact-xs" leftSection={<IconFolderPlus size={13} />} disabled={full} onClick={() => set([...terms, { [join === 'all' ? 'any' : 'all']: [newTerm()] }])}>
            {t('filter.addGroup')}
          </Button>
        )}
      </Group>
    </fieldset>
  );
}

function TermEditor({ value, onChange, onRemove }: { value: FilterTerm; onChange: (next: FilterTerm) => void; onRemove: () => void }) {
  const info = infoOf(value.field);
  const op = value.op ?? info.ops[0]!;

  function setField(field: string | null) {
    const next = infoOf(field ?? undefined);
    const nextOp = next.ops.includes(op) ? op : next.ops[0]!;
    onChange({ field: next.field, op: nextOp, ...(needsValue(nextOp) ? { value: nextOp === 'in' ? [] : '' } : {}) });
  }

  function setOp(next: Op) {
    const { value: old, ...rest } = value;
    const kept = next === 'in' ? (Array.isArray(old) ? old : old ? [old] : []) : Array.isArray(old) ? (old[0] ?? '') : (old ?? '');
    onChange({ ...rest, op: next, ...(needsValue(next) ? { value: kept } : {}) });
  }

  return (
    <div className={classes.term}>
      <Select size="xs" aria-label={t('filter.field')} data={FIELDS.map((each) => ({ value: each.field, label: label('filterFields', each.field) }))} value={info.field} onChange={setField} allowDeselect={false} searchable className={classes.field} />
      {info.kind === 'custom' && <TextInput size="xs" aria-label={t('filter.key')} placeholder={t('filter.key')} value={value.key ?? ''} onChange={(event) => onChange({ ...value, key: event.currentTarget.value })} className={classes.field} />}
      <Select size="xs" aria-label={t('filter.op')} data={info.ops.map((each) => ({ value: each, label: label('filterOps', each) }))} value={op} onChange={(next) => next && setOp(next as Op)} allowDeselect={false} className={classes.op} />
      <div className={classes.value}>{needsValue(op) && <ValueEditor term={{ ...value, op }} onChange={(next) => onChange({ ...value, op, value: next })} />}</div>
      <ActionIcon aria-label={t('filter.removeTerm')} onClick={onRemove}>
        <IconTrash size={15} />
      </ActionIcon>
    </div>
  );
}

function ValueEditor({ term, onChange }: { term: FilterTerm; onChange: (value: unknown) => void }) {
  const info = infoOf(term.field);
  const text = typeof term.value === 'string' ? term.value : '';
  const name = t('filter.value');
  if (info.kind === 'choice') {
    const data = (info.options ?? []).map((each) => ({ value: each, label: label(info.field === 'os_family' ? 'os' : info.field === 'kind' ? 'deviceKinds' : 'states', each) }));
    if (term.op === 'in') return <MultiSelect size="xs" aria-label={name} data={data} value={Array.isArray(term.value) ? (term.value as string[]) : []} onChange={onChange} />;
    return <Select size="xs" aria-label={name} data={data} value={text || null} onChange={(next) => onChange(next ?? '')} />;
  }
  if (info.kind === 'tag') return <TagSelect label={undefined} aria-label={name} value={text || null} onChange={(next) => onChange(next ?? '')} />;
  if (info.kind === 'site') return <SiteSelect label={undefined} aria-label={name} value={text || null} onChange={(next) => onChange(next ?? '')} />;
  return <TextInput size="xs" aria-label={name} placeholder={info.kind === 'software' ? t('filter.softwareName') : name} value={text} onChange={(event) => onChange(event.currentTarget.value)} />;
}
