import { Button, Code, Group, Stack, Text, Timeline } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { show } from '../../kit/diff';
import { exactTime } from '../../kit/format';
import { Link } from '../../kit/Link';
import { Panel } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { EmptyState, ErrorState, PageSkeleton } from '../../kit/States';
import { t } from '../../messages/t';

/** Everything that happened to the device, newest first. */
export function TimelineTab({ device }: { device: Device }) {
  const events = useInfiniteQuery({
    queryKey: ['timeline', device.id],
    queryFn: ({ pageParam, signal }) => ok(api.GET('/api/v1/devices/{id}/timeline', { params: { path: { id: device.id }, query: { limit: 50, ...(pageParam ? { cursor: pageParam } : {}) } }, signal })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next_cursor || undefined,
    refetchInterval: ({ state }) => ((state.data?.pages.length ?? 0) <= 1 ? 15_000 : false),
  });
  const items = events.data?.pages.flatMap((page) => page.items) ?? [];
  if (events.isError) return <ErrorState error={events.error} retry={() => void events.refetch()} />;
  if (events.isLoading) return <PageSkeleton />;
  if (items.length === 0) return <EmptyState title={t('devices.noEvents')} />;
  return (
    <Panel>
      <Stack gap="md">
        <Timeline bulletSize={12} lineWidth={2} active={-1}>
          {items.map((event) => (
            <Timeline.Item key={event.id} title={<Text size="sm" fw={550} className="foreign">{plain(event.title)}</Text>}>
              <Text size="xs" c="dimmed" className="tnum">
                {exactTime(event.at)}
                {event.actor && ` · ${event.actor}`}
              </Text>
              <Group gap={6} mt={2}>
                {typeof event.detail.job_id === 'string' && (
                  <Link to={`/jobs/${event.detail.job_id}`} fz="xs">
                    {t('devices.openJob')}
                  </Link>
                )}
                {Object.entries(event.detail).filter(([key]) => !key.endsWith('_id')).map(([key, value]) => (
                  <Code key={key} fz="xs" className="foreign">
                    {plain(`${key}: ${show(value)}`).slice(0, 200)}
                  </Code>
                ))}
              </Group>
            </Timeline.Item>
          ))}
        </Timeline>
        {events.hasNextPage && (
          <Button variant="default" loading={events.isFetchingNextPage} onClick={() => void events.fetchNextPage()}>
            {t('kit.loadMore')}
          </Button>
        )}
      </Stack>
    </Panel>
  );
}
