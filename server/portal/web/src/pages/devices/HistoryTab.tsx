import { Button, Group, Select, Stack, Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Device } from '../../api/types';
import { ChangeList } from '../../kit/DiffView';
import { exactTime } from '../../kit/format';
import { Panel } from '../../kit/Page';
import { EmptyState, ErrorState, PageSkeleton } from '../../kit/States';
import { useUrlState } from '../../kit/url';
import { label, t } from '../../messages/t';

const SECTIONS = ['os', 'hardware', 'disks', 'volumes', 'network', 'users', 'software', 'services'];

/** What changed in the inventory, and when. */
export function HistoryTab({ device }: { device: Device }) {
  const [url, setUrl] = useUrlState();
  const section = url.section;
  const changes = useInfiniteQuery({
    queryKey: ['inventory', device.id, 'changes', section ?? null],
    queryFn: ({ pageParam, signal }) =>
      ok(api.GET('/api/v1/devices/{id}/inventory/changes', { params: { path: { id: device.id }, query: { limit: 50, ...(section ? { section } : {}), ...(pageParam ? { cursor: pageParam } : {}) } }, signal })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next_cursor || undefined,
  });
  const items = changes.data?.pages.flatMap((page) => page.items) ?? [];

  return (
    <Stack gap="md">
      <Group>
        <Select size="xs" clearable placeholder={t('devices.anySection')} aria-label={t('devices.section')} data={SECTIONS.map((each) => ({ value: each, label: label('sections', each) }))} value={section ?? null} onChange={(next) => setUrl({ section: next ?? undefined })} />
      </Group>
      {changes.isError && <ErrorState error={changes.error} retry={() => void changes.refetch()} />}
      {changes.isLoading && <PageSkeleton rows={3} />}
      {changes.isSuccess && items.length === 0 && <EmptyState title={t('devices.noChanges')}>{t('devices.noChangesHint')}</EmptyState>}
      {items.map((change) => (
        <Panel
          key={change.id}
          title={label('sections', change.section)}
          actions={
            <Text size="xs" c="dimmed" className="tnum">
              {exactTime(change.at)}
            </Text>
          }
        >
          <ChangeList changes={change.changes.map((each) => ({ op: each.op, path: each.path, before: each.before, after: each.after }))} />
          {change.truncated && (
            <Text size="xs" c="dimmed" mt="xs">
              {t('devices.changesTruncated')}
            </Text>
          )}
        </Panel>
      ))}
      {changes.hasNextPage && (
        <Button variant="default" loading={changes.isFetchingNextPage} onClick={() => void changes.fetchNextPage()}>
          {t('kit.loadMore')}
        </Button>
      )}
    </Stack>
  );
}
