import { Alert, Button, Code, Group, List, Skeleton, Stack, Text, Title } from '@mantine/core';
import { IconAlertTriangle, IconCloudOff, IconInbox, IconLock, type Icon } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { toProblem } from '../api/problem';
import { t } from '../messages/t';
import classes from './States.module.css';

/** Nothing here yet, and what to do about it. */
export function EmptyState({ icon: Symbol = IconInbox, title, children, action }: { icon?: Icon; title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className={classes.state} role="status">
      <Symbol size={30} stroke={1.4} className={classes.icon} aria-hidden />
      <Title order={3}>{title}</Title>
      {children && (
        <Text c="dimmed" size="sm" maw={440}>
          {children}
        </Text>
      )}
      {action}
    </div>
  );
}

/** Something could not be loaded: what, why, and the number to quote. */
export function ErrorState({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = toProblem(error);
  const Symbol = problem.status === 0 ? IconCloudOff : problem.status === 403 ? IconLock : IconAlertTriangle;
  return (
    <div className={classes.state} role="alert">
      <Symbol size={30} stroke={1.4} className={classes.icon} aria-hidden />
      <Title order={3}>{problem.title}</Title>
      {problem.detail && (
        <Text c="dimmed" size="sm" maw={520} className="foreign">
          {problem.detail}
        </Text>
      )}
      <Group gap="sm" justify="center">
        {retry && (
          <Button variant="default" onClick={retry}>
            {t('kit.retry')}
          </Button>
        )}
        <RequestId id={problem.request_id} />
      </Group>
    </div>
  );
}

export function RequestId({ id }: { id: string | undefined }) {
  if (!id) return null;
  return (
    <Text size="xs" c="dimmed">
      {t('kit.requestId')} <Code fz="xs">{id}</Code>
    </Text>
  );
}

/** The problem of a form, with those of its faults that no field shows. */
export function FormErrors({ error, shown = [] }: { error: unknown; shown?: string[] }) {
  if (!error) return null;
  const problem = toProblem(error);
  const rest = (problem.errors ?? []).filter((each) => !shown.includes(pointerToPath(each.pointer)));
  const onlyFields = (problem.errors?.length ?? 0) > 0 && rest.length === 0;
  return (
    <Alert color="red" variant="light" icon={<IconAlertTriangle size={18} />} title={onlyFields ? t('kit.checkFields') : problem.title} role="alert">
      <Stack gap={6}>
        {!onlyFields && problem.detail && (
          <Text size="sm" className="foreign">
            {problem.detail}
          </Text>
        )}
        {rest.length > 0 && (
          <List size="sm">
            {rest.map((each) => (
              <List.Item key={each.pointer + each.detail} className="foreign">
                <Code>{each.pointer}</Code> {each.detail}
              </List.Item>
            ))}
          </List>
        )}
        <RequestId id={problem.request_id} />
      </Stack>
    </Alert>
  );
}

/** "/targets/device_ids/0" → "targets.device_ids.0", which is how forms name their fields. */
export function pointerToPath(pointer: string): string {
  return pointer
    .replace(/^[#?]?\/?/, '')
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .join('.');
}

/** Field errors of a problem, by field path, for `form.setErrors`. */
export function fieldErrors(error: unknown): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { pointer, detail } of toProblem(error).errors ?? []) found[pointerToPath(pointer)] ??= detail;
  return found;
}

/** Grey bars while a page loads; the shape says something is coming. */
export function PageSkeleton({ rows = 6 }: { rows?: number }) {
  return (
    <Stack gap="md" aria-busy="true" aria-label={t('kit.loading')}>
      <Skeleton height={22} width={220} />
      <Skeleton height={14} width={340} />
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} height={34} />
      ))}
    </Stack>
  );
}

