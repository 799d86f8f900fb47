import { Box, Breadcrumbs, Group, Text, Title } from '@mantine/core';
import { useDocumentTitle } from '@mantine/hooks';
import type { ReactNode } from 'react';
import { t } from '../messages/t';
import { Link } from './Link';
import classes from './Page.module.css';

export type Crumb = { label: string; to: string };

type Props = {
  title: string;
  /** Beside the title: badges, states. */
  badge?: ReactNode;
  subtitle?: ReactNode;
  crumbs?: Crumb[];
  actions?: ReactNode;
  /** The page fills the window and its table scrolls, instead of the page. */
  fill?: boolean;
  /** Forms and reading pages are not wider than a line can be read. */
  narrow?: boolean;
  children: ReactNode;
};

export function Page({ title, badge, subtitle, crumbs, actions, fill, narrow, children }: Props) {
  useDocumentTitle(`${title} · ${t('app.name')}`);
  return (
    <div className={classes.page} data-fill={fill || undefined} data-narrow={narrow || undefined}>
      <header className={classes.header}>
        <Box miw={0} flex="1 1 16rem">
          {crumbs && (
            <Breadcrumbs separator="/" separatorMargin={6} className={classes.crumbs} aria-label={t('kit.breadcrumbs')}>
              {crumbs.map((crumb) => (
                <Link key={crumb.to} to={crumb.to} c="dimmed">
                  {crumb.label}
                </Link>
              ))}
            </Breadcrumbs>
          )}
          <Group gap="sm" wrap="nowrap" align="center">
            <Title order={1} className="truncate">
              {title}
            </Title>
            {badge}
          </Group>
          {subtitle && (
            <Text size="sm" c="dimmed" component="div" mt={2}>
              {subtitle}
            </Text>
          )}
        </Box>
        {actions && (
          <Group gap="xs" className={classes.actions}>
            {actions}
          </Group>
        )}
      </header>
      {children}
    </div>
  );
}

/** A titled part of a page. */
export function Panel({ title, actions, children, flush }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; flush?: boolean }) {
  return (
    <section className={classes.panel}>
      {(title || actions) && (
        <Group justify="space-between" gap="sm" className={classes.panelHead} wrap="nowrap">
          <Title order={2} fz="sm">
            {title}
          </Title>
          <Group gap="xs" wrap="nowrap">
            {actions}
          </Group>
        </Group>
      )}
      <div className={flush ? classes.panelFlush : classes.panelBody}>{children}</div>
    </section>
  );
}

/** Name and value, in as many columns as fit. */
export function Facts({ items }: { items: (readonly [string, ReactNode] | false | null | undefined)[] }) {
  return (
    <dl className={classes.facts}>
      {items.map(
        (item) =>
          item && (
            <div key={item[0]} className={classes.fact}>
              <dt>{item[0]}</dt>
              <dd className="foreign">{item[1] === null || item[1] === undefined || item[1] === '' ? '–' : item[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}
