import { Checkbox, Fieldset, Group, Select, Stack, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import { DurationInput } from '../../kit/DurationInput';
import { label, t } from '../../messages/t';
import type { EndpointSpec } from './policy';

type Props = { value: EndpointSpec; onChange: (spec: EndpointSpec) => void; errors: Record<string, ReactNode> };

// What holds without any policy, where a value begins when it is switched on.
const DEFAULTS: Required<EndpointSpec> = { sync_interval_seconds: 60, inventory_interval_seconds: 21_600, scripts_allowed: true };

/** What a policy for endpoints sets; what is not ticked is inherited. */
export function SpecEditor({ value, onChange, errors }: Props) {
  function toggle(field: keyof EndpointSpec, on: boolean) {
    const { [field]: _, ...rest } = value;
    onChange(on ? { ...rest, [field]: DEFAULTS[field] } : rest);
  }
  const row = (field: keyof EndpointSpec, input: ReactNode) => (
    <Group align="flex-start" gap="md" wrap="nowrap" mih={58}>
      <Checkbox aria-label={t('policies.setHere', { field: label('policySettings', field) })} checked={value[field] !== undefined} onChange={(event) => toggle(field, event.currentTarget.checked)} mt={value[field] === undefined ? 2 : 27} />
      {value[field] === undefined ? (
        <div>
          <Text size="sm" fw={500}>
            {label('policySettings', field)}
          </Text>
          <Text size="xs" c="dimmed">
            {t('policies.inherited')}
          </Text>
        </div>
      ) : (
        input
      )}
    </Group>
  );
  const interval = (field: 'sync_interval_seconds' | 'inventory_interval_seconds', min: number, max: number) =>
    row(field, <DurationInput label={label('policySettings', field)} min={min} max={max} value={value[field]} onChange={(seconds) => onChange({ ...value, [field]: seconds ?? DEFAULTS[field] })} error={errors[`spec.${field}`]} />);

  return (
    <Fieldset legend={t('policies.sets')}>
      <Stack gap="xs">
        {interval('sync_interval_seconds', 10, 3_600)}
        {interval('inventory_interval_seconds', 300, 604_800)}
        {row(
          'scripts_allowed',
          <Select
            label={label('policySettings', 'scripts_allowed')}
            allowDeselect={false}
            w={260}
            maw="100%"
            data={[
              { value: 'yes', label: t('policies.scriptsYes') },
              { value: 'no', label: t('policies.scriptsNo') },
            ]}
            value={value.scripts_allowed ? 'yes' : 'no'}
            onChange={(next) => onChange({ ...value, scripts_allowed: next === 'yes' })}
            error={errors['spec.scripts_allowed']}
          />,
        )}
        {errors.spec && (
          <Text size="xs" c="red">
            {errors.spec}
          </Text>
        )}
      </Stack>
    </Fieldset>
  );
}
