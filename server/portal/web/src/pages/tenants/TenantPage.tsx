import { ActionIcon, Alert, Badge, Button, Menu, Stack, Tabs, Text } from '@mantine/core';
import { IconAlertOctagon, IconArchive, IconDevices2, IconDots, IconPlayerPause, IconPlayerPlay, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Tenant } from '../../api/types';
import { useCan, useMe } from '../../app/me';
import { useGo } from '../../app/tenant';
import { useConfirm, type Question } from '../../kit/Confirm';
import { number } from '../../kit/format';
import { Loaded } from '../../kit/Loaded';
import { Facts, Page, Panel } from '../../kit/Page';
import { StateBadge } from '../../kit/StateBadge';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { useUrlState } from '../../kit/url';
import { t } from '../../messages/t';
import { EmergencyDialog } from './EmergencyDialog';
import { FieldsTab } from './FieldsTab';
import { SiteDialog } from './SiteDialog';
import { SitesTab } from './SitesTab';
import { TenantSettings } from './TenantSettings';

const crumbs = [{ label: t('nav.tenants'), to: '/tenants' }];

/** One client: its sites, its custom fields, its settings. */
export function Component() {
  const { id = '' } = useParams();
  const tenant = useQuery({ queryKey: ['tenants', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/tenants/{id}', { params: { path: { id } }, signal })) });
  if (tenant.data) return <TenantView tenant={tenant.data} />;
  return (
    <Page title={t('fields.tenant')} crumbs={crumbs}>
      <Loaded query={tenant}>{() => null}</Loaded>
    </Page>
  );
}

function TenantView({ tenant }: { tenant: Tenant }) {
  const [url, setUrl] = useUrlState();
  const can = useCan();
  const tab = url.tab ?? 'sites';
  return (
    <Page
      title={tenant.name}
      crumbs={crumbs}
      badge={tenant.is_provider ? <Badge>{t('tenants.provider')}</Badge> : <StateBadge state={tenant.state} />}
      subtitle={
        <>
          {t('nav.deviceCount', { n: tenant.device_count })} · {tenant.zone}
        </>
      }
      actions={<Acts tenant={tenant} />}
    >
      {tenant.state === 'suspended' && (
        <Alert color="yellow" icon={<IconPlayerPause size={18} />}>
          {t('tenants.suspendedBody')}
        </Alert>
      )}
      {tenant.state === 'archived' && (
        <Alert color="gray" icon={<IconArchive size={18} />}>
          {t('tenants.archivedBody')}
        </Alert>
      )}
      <Tabs value={tab} onChange={(next) => setUrl({ tab: next === 'sites' ? undefined : (next ?? undefined), site: undefined }, true)}>
        <Tabs.List mb="md">
          <Tabs.Tab value="sites">{t('tenants.sites')}</Tabs.Tab>
          <Tabs.Tab value="about">{t('tenants.about')}</Tabs.Tab>
          {can('custom_fields.read') && <Tabs.Tab value="fields">{t('nav.customFields')}</Tabs.Tab>}
          {tenant.state !== 'archived' && (can('tenants.manage') || can('settings.read')) && <Tabs.Tab value="settings">{t('nav.settings')}</Tabs.Tab>}
        </Tabs.List>
        <Tabs.Panel value="sites">
          <SitesTab tenant={tenant} />
        </Tabs.Panel>
        <Tabs.Panel value="about">
          <About tenant={tenant} />
        </Tabs.Panel>
        <Tabs.Panel value="fields">
          <FieldsTab objectType="tenant" objectId={tenant.id} />
        </Tabs.Panel>
        <Tabs.Panel value="settings">
          <TenantSettings key={tenant.version} tenant={tenant} />
        </Tabs.Panel>
      </Tabs>
    </Page>
  );
}

function About({ tenant }: { tenant: Tenant }) {
  return (
    <Stack gap="md">
      <Panel>
        <Facts
          items={[
            [t('tenants.sites'), number(tenant.site_count)],
            [t('fields.devices'), number(tenant.device_count)],
            [t('fields.zone'), tenant.zone],
            [t('tenants.locale'), tenant.locale],
            [t('tenants.newDevices'), t(tenant.enrolment_approval ? 'tenants.wait' : 'tenants.atOnce')],
            [t('tenants.slug'), <span key="s" className="mono">{tenant.slug}</span>],
            [t('fields.created'), <TimeAgo key="c" at={tenant.created_at} />],
            [t('fields.updated'), <TimeAgo key="u" at={tenant.updated_at} />],
          ]}
        />
      </Panel>
      {tenant.notes && (
        <Panel title={t('fields.notes')}>
          <Text size="sm" className="foreign" style={{ whiteSpace: 'pre-wrap' }}>
            {tenant.notes}
          </Text>
        </Panel>
      )}
    </Stack>
  );
}

type Verb = 'suspend' | 'resume' | 'archive';

function Acts({ tenant }: { tenant: Tenant }) {
  const can = useCan();
  const { all_tenants: reachesAll } = useMe();
  const go = useGo();
  const confirm = useConfirm();
  const { act, busy } = useAct('tenants');
  const [dialog, setDialog] = useState<'emergency' | 'site' | null>(null);
  const name = tenant.name;

  const questions: Record<Verb, Question> = {
    suspend: { title: t('tenants.suspendTitle', { name }), body: t('tenants.suspendBody'), confirm: t('tenants.suspend'), danger: true, reason: 'required' },
    resume: { title: t('tenants.resumeTitle', { name }), body: t('tenants.resumeBody'), confirm: t('tenants.resume'), reason: 'optional' },
    archive: { title: t('tenants.archiveTitle', { name }), body: t('tenants.archiveBody'), confirm: t('tenants.archive'), danger: true, typed: name, reason: 'optional' },
  };

  async function change(verb: Verb) {
    const answer = await confirm(questions[verb]);
    if (!answer) return;
    const init = { params: { path: { id: tenant.id } }, body: { version: tenant.version, ...(answer.reason ? { reason: answer.reason } : {}) } };
    await act(() => ok(api.POST(`/api/v1/tenants/{id}/${verb}`, init)), t('kit.saved'));
  }

  const manages = can('tenants.manage') && reachesAll && !tenant.is_provider && tenant.state !== 'archived';
  return (
    <>
      {can('devices.read') && (
        <Button variant="default" leftSection={<IconDevices2 size={15} />} onClick={() => go(`/devices?tenant=${tenant.id}`)}>
          {t('nav.devices')}
        </Button>
      )}
      {can('sites.manage') && tenant.state !== 'archived' && (
        <Button leftSection={<IconPlus size={15} />} onClick={() => setDialog('site')}>
          {t('tenants.createSite')}
        </Button>
      )}
      {tenant.state === 'suspended' && manages && (
        <Button leftSection={<IconPlayerPlay size={15} />} loading={busy} onClick={() => void change('resume')}>
          {t('tenants.resume')}
        </Button>
      )}
      {(manages || can('break_glass.use')) && !tenant.is_provider && tenant.state !== 'archived' && (
        <Menu width={230}>
          <Menu.Target>
            <ActionIcon variant="default" size={30} aria-label={t('kit.more')} loading={busy}>
              <IconDots size={16} />
            </ActionIcon>
          </Menu.Target>
          <Menu.Dropdown>
            {manages && tenant.state === 'active' && (
              <Menu.Item leftSection={<IconPlayerPause size={15} />} onClick={() => void change('suspend')}>
                {t('tenants.suspend')}
              </Menu.Item>
            )}
            {can('break_glass.use') && (
              <Menu.Item leftSection={<IconAlertOctagon size={15} />} onClick={() => setDialog('emergency')}>
                {t('tenants.emergency')}
              </Menu.Item>
            )}
            {manages && (
              <Menu.Item color="red" leftSection={<IconArchive size={15} />} onClick={() => void change('archive')}>
                {t('tenants.archive')}
              </Menu.Item>
            )}
          </Menu.Dropdown>
        </Menu>
      )}
      {dialog === 'emergency' && <EmergencyDialog tenant={tenant} onClose={() => setDialog(null)} />}
      {dialog === 'site' && <SiteDialog tenantId={tenant.id} onClose={() => setDialog(null)} />}
    </>
  );
}
