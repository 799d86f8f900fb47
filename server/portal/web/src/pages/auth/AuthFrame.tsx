import { Paper, Stack, Text, Title } from '@mantine/core';
import { useDocumentTitle } from '@mantine/hooks';
import type { ReactNode } from 'react';
import { Logo } from '../../app/Logo';
import { t } from '../../messages/t';
import classes from './AuthFrame.module.css';

/** The pages before the sign-in. */
export function AuthFrame({ title, intro, children }: { title: string; intro?: string; children: ReactNode }) {
  useDocumentTitle(`${title} · ${t('app.name')}`);
  return (
    <main className={classes.frame}>
      <div className={classes.column}>
        <div className={classes.logo}>
          <Logo size={34} />
        </div>
        <Paper className={classes.card}>
          <Stack gap="md">
            <div>
              <Title order={1}>{title}</Title>
              {intro && (
                <Text size="sm" c="dimmed" mt={4}>
                  {intro}
                </Text>
              )}
            </div>
            {children}
          </Stack>
        </Paper>
      </div>
    </main>
  );
}
