import { Button, Grid, NavLink, Stack, Text } from '@mantine/core';
import { useInfiniteQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Script } from '../../api/types';
import { dateTime } from '../../kit/format';
import { Panel } from '../../kit/Page';
import { ErrorState, PageSkeleton } from '../../kit/States';
import { TextDiff } from '../../kit/TextDiff';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';

/** The versions of a script, each with what it changed against the one before. */
export function ScriptVersions({ script }: { script: Script }) {
  const [url, setUrl] = useUrlState();
  const versions = useInfiniteQuery({
    queryKey: ['scripts', script.id, 'versions'],
    queryFn: ({ pageParam, signal }) => ok(api.GET('/api/v1/scripts/{id}/versions', { params: { path: { id: script.id }, query: { limit: 50, ...(pageParam ? { cursor: pageParam } : {}) } }, signal })),
    initialPageParam: '',
    getNextPageParam: (last) => last.next_cursor || undefined,
  });
  if (versions.isError) return <ErrorState error={versions.error} retry={() => void versions.refetch()} />;
  if (!versions.data) return <PageSkeleton />;
  const items = versions.data.pages.flatMap((page) => page.items);
  const chosen = items.find((each) => String(each.number) === url.number) ?? items[0];
  const before = items.find((each) => each.number === (chosen?.number ?? 0) - 1);

  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, md: 4, lg: 3 }}>
        <Panel flush>
          {items.map((each) => (
            <NavLink
              key={each.number}
              component="button"
              active={each.number === chosen?.number}
              onClick={() => setUrl({ number: String(each.number) })}
              label={t('scripts.number', { n: each.number })}
              description={
                <Stack gap={0} component="span">
                  {each.note && <span>{each.note}</span>}
                  <span>
                    {dateTime(each.created_at)} · {each.created_by}
                  </span>
                </Stack>
              }
            />
          ))}
          {versions.hasNextPage && (
            <Button variant="subtle" fullWidth loading={versions.isFetchingNextPage} onClick={() => void versions.fetchNextPage()}>
              {t('kit.loadMore')}
            </Button>
          )}
        </Panel>
      </Grid.Col>
      <Grid.Col span={{ base: 12, md: 8, lg: 9 }}>
        {chosen && (
          <Panel title={before ? t('scripts.comparedWith', { n: before.number }) : t('scripts.number', { n: chosen.number })} flush>
            <TextDiff before={before?.body ?? (items.length > 1 || chosen.number === 1 ? '' : chosen.body)} after={chosen.body} />
            {chosen.body === before?.body && (
              <Text size="xs" c="dimmed" p="sm">
                {t('scripts.onlySettings')}
              </Text>
            )}
          </Panel>
        )}
      </Grid.Col>
    </Grid>
  );
}
