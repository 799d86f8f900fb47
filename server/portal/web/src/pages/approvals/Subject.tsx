import { Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import type { Schema, Targets } from '../../api/types';
import { useCan } from '../../app/me';
import { CodeBlock } from '../../kit/Copy';
import { show } from '../../kit/diff';
import { Link } from '../../kit/Link';
import { Facts, Panel } from '../../kit/Page';
import { describe } from '../../kit/recurrence';
import { plain } from '../../kit/safeText';
import { TargetsText } from '../../kit/TargetsText';
import { label, t } from '../../messages/t';
import { scriptQuery } from '../jobs/WorkEditor';

type Payload = Record<string, unknown>;

/** The work a second person is asked about: nobody should approve what they have not read. */
export function Subject({ approval: { subject_type: type, subject_id: id } }: { approval: Schema<'Approval'> }) {
  const can = useCan();
  const job = useQuery({ queryKey: ['jobs', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/jobs/{id}', { params: { path: { id } }, signal })), enabled: type === 'job' && can('jobs.read'), retry: false });
  const schedule = useQuery({ queryKey: ['schedules', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/schedules/{id}', { params: { path: { id } }, signal })), enabled: type === 'schedule' && can('schedules.read'), retry: false });
  if (job.data) return <Work kind={job.data.kind} payload={job.data.payload} targets={job.data.targets} />;
  if (schedule.data) return <Work kind={schedule.data.what.kind} payload={schedule.data.what.payload} targets={schedule.data.targets} when={describe(schedule.data.recurrence)} />;
  return null;
}

function Work({ kind, payload, targets, when }: { kind: string; payload: Payload; targets: Targets; when?: string }) {
  const scriptId = typeof payload.script_id === 'string' ? payload.script_id : undefined;
  const script = useQuery(scriptQuery(scriptId));
  const body = typeof payload.script === 'string' ? payload.script : script.data?.body;
  const parameters = Object.entries((payload.parameters ?? {}) as Payload);
  return (
    <Panel title={t('approvals.work')}>
      <Stack gap="md">
        <Facts
          items={[
            [t('approvals.kindOfWork'), label('taskKinds', kind)],
            [t('fields.devices'), <TargetsText key="t" targets={targets} />],
            when ? [t('recurrence.label'), when] : null,
            script.data ? [t('fields.script'), <Link key="s" to={`/scripts/${script.data.id}`}>{script.data.name}</Link>] : null,
            ...parameters.map(([name, value]) => [plain(name), plain(show(value))] as const),
          ]}
        />
        {body && (
          <div>
            <Text size="xs" c="dimmed" mb={4}>
              {t('scripts.body')}
            </Text>
            <CodeBlock code={body} label={t('scripts.body')} maxHeight={380} />
          </div>
        )}
      </Stack>
    </Panel>
  );
}
