import { Badge, Button, Tabs } from '@mantine/core';
import { IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ok } from '../../api/client';
import { useCan } from '../../app/me';
import { useTenantId } from '../../app/tenant';
import { Page } from '../../kit/Page';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { TokenDialog } from './TokenDialog';
import { TokensTab } from './TokensTab';
import { WaitingTab } from './WaitingTab';

/** How machines join: tokens to paste, and devices that wait to be let in. */
export function Component() {
  const [url, setUrl] = useUrlState();
  const can = useCan();
  const tenant = useTenantId();
  const [creating, setCreating] = useState(false);
  const dashboard = useQuery({
    queryKey: ['dashboard', tenant ?? null],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/dashboard', { params: { query: tenant ? { tenant_id: tenant } : {} }, signal })),
    enabled: can('devices.read'),
    refetchInterval: 30_000,
  });
  const waiting = dashboard.data?.devices_pending ?? 0;
  const tab = url.tab ?? 'tokens';
  const create = (
    <Button leftSection={<IconPlus size={15} />} onClick={() => setCreating(true)}>
      {t('enrolment.create')}
    </Button>
  );
  return (
    <Page fill title={t('nav.enrolment')} subtitle={t('enrolment.subtitle')} actions={create}>
      <Tabs value={tab} onChange={(next) => setUrl({ tab: next === 'tokens' ? undefined : (next ?? undefined) }, true)}>
        <Tabs.List>
          <Tabs.Tab value="tokens">{t('enrolment.tokens')}</Tabs.Tab>
          {can('devices.read') && (
            <Tabs.Tab value="waiting" rightSection={waiting > 0 ? <Badge color="yellow">{waiting}</Badge> : undefined}>
              {t('enrolment.waiting')}
            </Tabs.Tab>
          )}
        </Tabs.List>
      </Tabs>
      {tab === 'waiting' ? <WaitingTab /> : <TokensTab create={create} />}
      {creating && <TokenDialog onClose={() => setCreating(false)} />}
    </Page>
  );
}
