import { Group, Text } from '@mantine/core';
import { t } from '../messages/t';

export function Logo({ size = 24 }: { size?: number }) {
  return (
    <Group gap={9} wrap="nowrap">
      <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden>
        <rect width="32" height="32" rx="7" fill="var(--mantine-primary-color-filled)" />
        <path d="M9 24V8h8.2c3.4 0 5.6 2 5.6 5 0 2.3-1.3 4-3.4 4.7L24 24h-4.3l-4-5.8H12.700V24zm3.700-9h4.100c1.400 0 2.200-.8 2.200-1.900s-.8-1.900-2.200-1.900h-4.100z" fill="#fff" />
      </svg>
      <Text span fw={650} fz={size > 28 ? 22 : 16} lts="-0.01em">
        {t('app.name')}
      </Text>
    </Group>
  );
}
