import { Alert, Group, Loader, Text } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { IconAlertTriangle, IconTargetArrow } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useEffect } from 'react';
import { api, ok } from '../../api/client';
import { toProblem } from '../../api/problem';
import type { Schema } from '../../api/types';
import { plain } from '../../kit/safeText';
import { t } from '../../messages/t';

type Preview = Schema<'JobPreview'>;

/** Counts what a job would reach before it is started, and says whether a second person must approve. */
export function Reach({ job, onPreview }: { job: Schema<'JobCreate'> | undefined; onPreview: (preview: Preview | undefined) => void }) {
  const [asked] = useDebouncedValue(job ? JSON.stringify(job) : '', 350);
  const preview = useQuery({
    queryKey: ['jobs', 'preview', asked],
    queryFn: ({ signal }) => ok(api.POST('/api/v1/jobs/preview', { body: JSON.parse(asked) as Schema<'JobCreate'>, signal })),
    enabled: asked !== '',
    placeholderData: keepPreviousData,
    retry: false,
    staleTime: 10_000,
  });
  const found = asked === '' ? undefined : preview.data;
  useEffect(() => onPreview(found), [found, onPreview]);

  if (asked === '') {
    return (
      <Text size="sm" c="dimmed">
        {t('jobs.reachUnknown')}
      </Text>
    );
  }
  if (preview.isError) {
    const problem = toProblem(preview.error);
    return (
      <Text size="sm" c="red" role="alert">
        {problem.errors?.map((each) => each.detail).join(' ') || problem.detail || problem.title}
      </Text>
    );
  }
  if (!found) return <Loader size={16} />;
  const names = found.sample.map((each) => plain(each.name)).join(', ');
  return (
    <div aria-live="polite">
      <Group gap={8} wrap="nowrap" align="flex-start">
        <IconTargetArrow size={17} aria-hidden style={{ flex: 'none', marginTop: 2 }} />
        <div>
          <Text size="sm" fw={550}>
            {t('jobs.reach', { n: found.devices_total, online: found.online_total })}
            {found.tenants_total > 1 && ` · ${t('jobs.reachTenants', { n: found.tenants_total })}`}
          </Text>
          {names && (
            <Text size="xs" c="dimmed" className="foreign">
              {names}
              {found.devices_total > found.sample.length && '…'}
            </Text>
          )}
        </div>
      </Group>
      {(found.needs_approval || found.reasons.length > 0) && (
        <Alert color="yellow" mt="xs" py={8} icon={<IconAlertTriangle size={17} />} title={found.needs_approval ? t('jobs.needsApproval') : undefined}>
          {found.reasons.map((each) => (
            <Text key={each} size="sm">
              {each}
            </Text>
          ))}
        </Alert>
      )}
    </div>
  );
}
