import { Button, NavLink, Select, Text, TextInput, Title } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconDownload, IconSearch } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useEffect, useMemo, useRef } from 'react';
import { api, ok } from '../../api/client';
import { Loaded } from '../../kit/Loaded';
import { Page } from '../../kit/Page';
import { EmptyState } from '../../kit/States';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { operationsOf, type Contract, type Operation } from './contract';
import { OperationView } from './OperationView';
import classes from './Api.module.css';

/** The API's own description, read from this server. */
export function Component() {
  const contract = useQuery({
    queryKey: ['contract'],
    // The server's contract is a document of its own; only the parts that are shown are typed.
    queryFn: async ({ signal }) => (await ok(api.GET('/api/v1/openapi.json', { signal }))) as unknown as Contract,
    staleTime: Infinity,
  });
  return (
    <Page
      title={t('nav.api')}
      subtitle={contract.data && `${contract.data.info.title} ${contract.data.info.version}`}
      actions={
        <Button component="a" href="/api/v1/openapi.json" download="openapi.json" variant="default" leftSection={<IconDownload size={15} />}>
          {t('apiDocs.download')}
        </Button>
      }
    >
      <Loaded query={contract}>{(found) => <Description contract={found} />}</Loaded>
    </Page>
  );
}

function Description({ contract }: { contract: Contract }) {
  const [url, setUrl] = useUrlState();
  const narrow = useMediaQuery('(max-width: 62em)', false, { getInitialValueInEffect: false });
  const operations = useMemo(() => operationsOf(contract), [contract]);
  const linked = operations.find((each) => each.id === url.op);
  const tags = (contract.tags ?? []).filter((tag) => operations.some((each) => each.tag === tag.name));
  const tag = url.tag ?? linked?.tag ?? tags[0]?.name ?? '';
  const q = url.q?.toLowerCase();
  const shown = operations.filter((each) => (q ? `${each.id} ${each.method} ${each.path} ${each.summary}`.toLowerCase().includes(q) : each.tag === tag));
  const countOf = (name: string) => operations.filter((each) => each.tag === name).length;

  const search = (
    <TextInput size="xs" type="search" leftSection={<IconSearch size={14} />} aria-label={t('apiDocs.search')} placeholder={t('apiDocs.search')} value={url.q ?? ''} onChange={(event) => setUrl({ q: event.currentTarget.value || undefined, op: undefined })} />
  );
  return (
    <div className={classes.columns}>
      <nav aria-label={t('nav.api')} className={classes.tags}>
        {search}
        {narrow ? (
          <Select size="xs" aria-label={t('nav.api')} allowDeselect={false} data={tags.map((each) => ({ value: each.name, label: `${each.name} (${countOf(each.name)})` }))} value={tag} onChange={(next) => next && setUrl({ tag: next, op: undefined, q: undefined })} />
        ) : (
          tags.map((each) => <NavLink key={each.name} component="button" label={each.name} active={!q && each.name === tag} onClick={() => setUrl({ tag: each.name, op: undefined, q: undefined }, true)} rightSection={<Text size="xs">{countOf(each.name)}</Text>} />)
        )}
      </nav>
      <div className={classes.operations}>
        {!q && (
          <header>
            <Title order={2}>{tag}</Title>
            <Text size="sm" c="dimmed">
              {tags.find((each) => each.name === tag)?.description}
            </Text>
            <Text size="xs" c="dimmed" mt="xs" maw="75ch">
              {t('apiDocs.intro')}
            </Text>
          </header>
        )}
        {shown.length === 0 && <EmptyState title={t('apiDocs.none')} />}
        {shown.map((each) => (
          <Row key={each.id} contract={contract} operation={each} open={url.op === each.id} onToggle={() => setUrl({ op: url.op === each.id ? undefined : each.id })} />
        ))}
      </div>
    </div>
  );
}

function Row({ contract, operation, open, onToggle }: { contract: Contract; operation: Operation; open: boolean; onToggle: () => void }) {
  const ref = useRef<HTMLElement>(null);
  // An address that names an operation leads to it.
  useEffect(() => {
    if (open) ref.current?.scrollIntoView({ block: 'nearest' });
  }, [open]);
  return (
    <section ref={ref} className={classes.row} data-open={open || undefined}>
      <button type="button" className={classes.head} aria-expanded={open} onClick={onToggle}>
        <span className={classes.method} data-method={operation.method}>
          {operation.method}
        </span>
        <span className={classes.path}>{operation.path}</span>
        <span className={classes.summary}>{operation.summary}</span>
      </button>
      {open && <OperationView contract={contract} operation={operation} />}
    </section>
  );
}
