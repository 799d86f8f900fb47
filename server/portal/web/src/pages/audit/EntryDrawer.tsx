import { Badge, Drawer, Stack, Text, Title } from '@mantine/core';
import type { Schema } from '../../api/types';
import { PROVIDER_ID } from '../../app/me';
import { CopyButton } from '../../kit/Copy';
import { show } from '../../kit/diff';
import { DiffView } from '../../kit/DiffView';
import { exactTime } from '../../kit/format';
import { Link } from '../../kit/Link';
import { Facts } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { TenantName } from '../../kit/TenantName';
import { label, t } from '../../messages/t';

type Entry = Schema<'AuditEntry'>;

// Objects with a page of their own.
const PAGES: Record<string, string> = { device: '/devices', job: '/jobs', schedule: '/schedules', script: '/scripts', tenant: '/tenants', user: '/users', approval: '/approvals' };

/** One entry: who, what, and what it changed. */
export function EntryDrawer({ entry, onClose }: { entry: Entry; onClose: () => void }) {
  const changed = isThere(entry.before) || isThere(entry.after);
  const detail = Object.entries(entry.detail);
  return (
    <Drawer opened onClose={onClose} size="xl" title={<Text fw={600}>{label('auditActions', entry.action)}</Text>}>
      <Stack gap="lg">
        <Facts
          items={[
            [t('audit.when'), <span key="w" className="tnum">{exactTime(entry.at)}</span>],
            [
              t('audit.who'),
              <span key="a">
                {entry.actor_kind === 'user' && entry.actor_id ? <Link to={`/users/${entry.actor_id}`}>{plain(entry.actor_name)}</Link> : plain(entry.actor_name)} <Badge color="gray">{label('actorKinds', entry.actor_kind)}</Badge>
              </span>,
            ],
            [t('audit.action'), <span key="n" className="mono">{entry.action}</span>],
            [t('audit.object'), <ObjectLink key="o" entry={entry} />],
            [t('fields.tenant'), entry.tenant_id === PROVIDER_ID ? t('nav.provider') : <TenantName key="t" id={entry.tenant_id} />],
            [t('profile.addresses'), <span key="d" className="mono">{entry.address}</span>],
            [t('kit.requestId'), <Copied key="r" text={entry.request_id} />],
            [t('audit.number'), entry.number],
          ]}
        />
        {changed && (
          <section>
            <Title order={3} mb="xs">
              {t('audit.changes')}
            </Title>
            <DiffView before={entry.before} after={entry.after} />
          </section>
        )}
        {detail.length > 0 && (
          <section>
            <Title order={3} mb="xs">
              {t('audit.detail')}
            </Title>
            <Facts items={detail.map(([name, value]) => [label('auditDetail', name), plain(show(value))] as const)} />
          </section>
        )}
        <section>
          <Title order={3} mb="xs">
            {t('audit.hash')}
          </Title>
          <Copied text={entry.hash} />
          <Text size="xs" c="dimmed" mt={4}>
            {t('audit.hashHint')}
          </Text>
        </section>
      </Stack>
    </Drawer>
  );
}

const isThere = (value: unknown) => value !== undefined && value !== null;

function ObjectLink({ entry }: { entry: Entry }) {
  const page = PAGES[entry.object_type];
  const name = plain(entry.object_name) || entry.object_id?.slice(0, 8) || '';
  return (
    <>
      {label('objectTypes', entry.object_type)} {page && entry.object_id ? <Link to={`${page}/${entry.object_id}`}>{name}</Link> : name}
    </>
  );
}

function Copied({ text }: { text: string }) {
  if (!text) return <>–</>;
  return (
    <span className="mono foreign">
      {text} <CopyButton value={text} />
    </span>
  );
}
