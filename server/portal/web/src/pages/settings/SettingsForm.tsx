import { Button, Fieldset, Group, Stack } from '@mantine/core';
import type { FormEvent, ReactNode } from 'react';
import { useCan } from '../../app/me';
import { Panel } from '../../kit/Page';
import { FormErrors } from '../../kit/States';
import { t } from '../../messages/t';

type Props = { title: string; onSubmit: (event: FormEvent<HTMLFormElement>) => void; busy: boolean; dirty: boolean; error: unknown; shown: string[]; actions?: ReactNode; children: ReactNode };

/** A panel of settings; those who may only read cannot change its fields. */
export function SettingsForm({ title, onSubmit, busy, dirty, error, shown, actions, children }: Props) {
  const manages = useCan()('settings.manage');
  return (
    <Panel title={title}>
      <form onSubmit={onSubmit}>
        <Stack gap="md">
          <Fieldset variant="unstyled" disabled={!manages}>
            <Stack gap="md">{children}</Stack>
          </Fieldset>
          <FormErrors error={error} shown={shown} />
          {manages && (
            <Group>
              <Button type="submit" loading={busy} disabled={!dirty}>
                {t('kit.save')}
              </Button>
              {actions}
            </Group>
          )}
        </Stack>
      </form>
    </Panel>
  );
}
