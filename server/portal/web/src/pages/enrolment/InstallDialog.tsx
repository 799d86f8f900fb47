import { Stack, Tabs, Text, Title } from '@mantine/core';
import { IconBrandApple, IconBrandUbuntu, IconBrandWindows, IconTerminal2, type Icon } from '@tabler/icons-react';
import type { Schema } from '../../api/types';
import { CodeBlock } from '../../kit/Copy';
import { ShownOnce } from '../../kit/ShownOnce';
import { t } from '../../messages/t';

type Line = Schema<'InstallLine'>;

const ICONS: Record<string, Icon> = { linux: IconBrandUbuntu, windows: IconBrandWindows, darwin: IconBrandApple };

/** The new token with the line for each kind of machine. */
export function InstallDialog({ made, onClose }: { made: Schema<'EnrolmentTokenCreated'>; onClose: () => void }) {
  const { tenant_name: tenant, site_name: site } = made.enrolment_token;
  return (
    <ShownOnce replaceable title={t('enrolment.made', { tenant, site })} label={t('enrolment.token')} secret={made.token} hint={t('enrolment.madeHint')} onClose={onClose}>
      {made.install.length > 0 && <InstallLines lines={made.install} />}
    </ShownOnce>
  );
}

function InstallLines({ lines }: { lines: Line[] }) {
  return (
    <section>
      <Title order={3} mb="xs">
        {t('enrolment.paste')}
      </Title>
      <Tabs defaultValue={lines[0]?.title ?? null}>
        <Tabs.List>
          {lines.map((line) => {
            const Symbol = ICONS[line.platform] ?? IconTerminal2;
            return (
              <Tabs.Tab key={line.title} value={line.title} leftSection={<Symbol size={15} aria-hidden />}>
                {line.title}
              </Tabs.Tab>
            );
          })}
        </Tabs.List>
        {lines.map((line) => (
          <Tabs.Panel key={line.title} value={line.title} pt="sm">
            <Stack gap="xs">
              <CodeBlock code={line.command} label={line.title} />
              {line.note && (
                <Text size="xs" c="dimmed">
                  {line.note}
                </Text>
              )}
            </Stack>
          </Tabs.Panel>
        ))}
      </Tabs>
    </section>
  );
}
