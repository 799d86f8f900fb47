import { Group, Input, NumberInput, Select } from '@mantine/core';
import { useId } from '@mantine/hooks';
import { useState, type ReactNode } from 'react';
import { t, type MessageKey } from '../messages/t';

const UNITS: [string, number, MessageKey][] = [
  ['s', 1, 'kit.seconds'],
  ['m', 60, 'kit.minutes'],
  ['h', 3_600, 'kit.hours'],
  ['d', 86_400, 'kit.days'],
];

type Props = {
  label: string;
  description?: ReactNode;
  error?: ReactNode;
  /** Seconds; undefined when empty. */
  value: number | undefined;
  onChange: (seconds: number | undefined) => void;
  min?: number;
  max?: number;
  required?: boolean;
  disabled?: boolean;
};

/** A length of time as number and unit; what it holds is always seconds. */
export function DurationInput({ label, description, error, value, onChange, min = 0, max, required, disabled }: Props) {
  const [unit, setUnit] = useState(() => bestUnit(value));
  const id = useId();
  const size = sizeOf(unit);

  function set(amount: string | number, of: number) {
    onChange(amount === '' ? undefined : Math.round(Number(amount) * of));
  }

  return (
    <Input.Wrapper id={id} label={label} description={description} error={error} required={required ?? false} size="sm">
      <Group gap={6} wrap="nowrap" mt={description ? 5 : 0}>
        <NumberInput id={id} value={value === undefined ? '' : value / size} onChange={(amount) => set(amount, size)} min={Math.ceil(min / size)} {...(max === undefined ? {} : { max: Math.floor(max / size) })} disabled={disabled ?? false} error={Boolean(error)} w={110} decimalScale={2} />
        <Select
          aria-label={t('kit.unitOf', { label })}
          value={unit}
          onChange={(next) => {
            if (!next) return;
            setUnit(next);
            if (value !== undefined) set(value / size, sizeOf(next));
          }}
          data={UNITS.filter(([, seconds]) => max === undefined || seconds <= max).map(([key, , message]) => ({ value: key, label: t(message) }))}
          allowDeselect={false}
          disabled={disabled ?? false}
          w={120}
        />
      </Group>
    </Input.Wrapper>
  );
}

const sizeOf = (unit: string) => UNITS.find(([key]) => key === unit)?.[1] ?? 1;

function bestUnit(seconds: number | undefined): string {
  if (!seconds) return 'm';
  return [...UNITS].reverse().find(([, size]) => seconds % size === 0)?.[0] ?? 's';
}
