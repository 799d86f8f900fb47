import { Alert, Button, Stack, Text } from '@mantine/core';
import { IconArrowBackUp, IconCheck, IconHourglass, IconX } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useParams } from 'react-router';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useCan, useMe } from '../../app/me';
import { useConfirm, type Question } from '../../kit/Confirm';
import { show } from '../../kit/diff';
import { Link } from '../../kit/Link';
import { Loaded } from '../../kit/Loaded';
import { Facts, Page, Panel } from '../../kit/Page';
import { plain } from '../../kit/safeText';
import { StateBadge } from '../../kit/StateBadge';
import { TenantName } from '../../kit/TenantName';
import { TimeAgo } from '../../kit/TimeAgo';
import { useAct } from '../../kit/useAct';
import { label, t } from '../../messages/t';
import { Subject } from './Subject';

type Approval = Schema<'Approval'>;
type Verb = 'approve' | 'reject' | 'withdraw';

const crumbs = [{ label: t('nav.approvals'), to: '/approvals' }];

// Where the thing in question can be looked at.
const PAGES: Record<string, string> = { job: '/jobs', schedule: '/schedules', device: '/devices', tenant: '/tenants' };

/** One question to a second person. */
export function Component() {
  const { id = '' } = useParams();
  const approval = useQuery({ queryKey: ['approvals', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/approvals/{id}', { params: { path: { id } }, signal })), refetchInterval: ({ state }) => (state.data?.state === 'pending' ? 15_000 : false) });
  if (approval.data) return <ApprovalView approval={approval.data} />;
  return (
    <Page title={t('approvals.one')} crumbs={crumbs} narrow>
      <Loaded query={approval}>{() => null}</Loaded>
    </Page>
  );
}

function ApprovalView({ approval }: { approval: Approval }) {
  const me = useMe();
  const page = PAGES[approval.subject_type];
  const detail = Object.entries(approval.detail).filter(([name]) => name !== 'kind');
  return (
    <Page title={label('approvalKinds', approval.kind)} crumbs={crumbs} badge={<StateBadge state={approval.state} />} actions={<Acts approval={approval} />} narrow>
      <Stack gap="md">
        {approval.state === 'pending' && (
          <Alert color="yellow" icon={<IconHourglass size={18} />}>
            {approval.requested_by_id === me.id ? t('approvals.ownBody') : t('approvals.pendingBody')} <TimeAgo at={approval.expires_at} />
          </Alert>
        )}
        <Panel title={t('approvals.request')}>
          <Stack gap="md">
            <div>
              <Text fw={600} className="foreign">
                {plain(approval.summary)}
              </Text>
              {approval.request_reason && (
                <Text size="sm" className="foreign" mt={4} style={{ whiteSpace: 'pre-wrap' }}>
                  {plain(approval.request_reason)}
                </Text>
              )}
            </div>
            <Facts
              items={[
                [t('approvals.requestedBy'), approval.requested_by],
                [t('approvals.requested'), <TimeAgo key="r" at={approval.requested_at} />],
                [t('fields.tenant'), approval.tenant_id === PROVIDER_ID ? t('nav.allTenants') : <TenantName key="t" id={approval.tenant_id} />],
                [t('approvals.subject'), page ? <Link key="s" to={`${page}/${approval.subject_id}`}>{label('objectTypes', approval.subject_type)}</Link> : label('objectTypes', approval.subject_type)],
                ...detail.map(([name, value]) => [label('approvalDetail', name), <Detail key={name} value={value} />] as const),
              ]}
            />
          </Stack>
        </Panel>
        <Subject approval={approval} />
        {approval.decided_at && (
          <Panel title={t('approvals.decision')}>
            <Facts
              items={[
                [t('fields.state'), <StateBadge key="s" state={approval.state} />],
                [t('approvals.decidedBy'), approval.decided_by],
                [t('approvals.decided'), <TimeAgo key="d" at={approval.decided_at} />],
                [t('kit.reason'), approval.decision_reason && plain(approval.decision_reason)],
              ]}
            />
          </Panel>
        )}
      </Stack>
    </Page>
  );
}

function Detail({ value }: { value: unknown }) {
  if (!Array.isArray(value)) return <>{plain(show(value))}</>;
  return (
    <>
      {value.map((each) => (
        <div key={show(each)}>{plain(show(each))}</div>
      ))}
    </>
  );
}

function Acts({ approval }: { approval: Approval }) {
  const me = useMe();
  const can = useCan();
  const confirm = useConfirm();
  const { act, busy } = useAct('approvals', 'jobs', 'schedules', 'dashboard');
  const questions: Record<Verb, Question> = {
    approve: { title: t('approvals.approveTitle'), body: approval.summary, confirm: t('approvals.approve'), reason: 'optional' },
    reject: { title: t('approvals.rejectTitle'), body: approval.summary, confirm: t('approvals.reject'), danger: true, reason: 'required' },
    withdraw: { title: t('approvals.withdrawTitle'), body: approval.summary, confirm: t('approvals.withdraw'), reason: 'optional' },
  };

  async function decide(verb: Verb) {
    const answer = await confirm(questions[verb]);
    if (!answer) return;
    const init = { params: { path: { id: approval.id } }, body: answer.reason ? { reason: answer.reason } : {} };
    await act(() => ok(api.POST(`/api/v1/approvals/{id}/${verb}`, init)), t(`approvals.done_${verb}`));
  }

  if (approval.state !== 'pending') return null;
  if (approval.requested_by_id === me.id) {
    return (
      <Button variant="default" leftSection={<IconArrowBackUp size={15} />} loading={busy} onClick={() => void decide('withdraw')}>
        {t('approvals.withdraw')}
      </Button>
    );
  }
  if (!can('approvals.decide')) return null;
  return (
    <>
      <Button leftSection={<IconCheck size={15} />} loading={busy} onClick={() => void decide('approve')}>
        {t('approvals.approve')}
      </Button>
      <Button variant="default" leftSection={<IconX size={15} />} loading={busy} onClick={() => void decide('reject')}>
        {t('approvals.reject')}
      </Button>
    </>
  );
}
