import { Alert, List, Text } from '@mantine/core';
import { IconShieldCheck, IconShieldX } from '@tabler/icons-react';
import { useState, type FormEvent } from 'react';
import { api, ok } from '../../api/client';
import type { Schema } from '../../api/types';
import { PROVIDER_ID, useMe } from '../../app/me';
import { FormDialog } from '../../kit/FormDialog';
import { exactTime, number } from '../../kit/format';
import { TenantSelect } from '../../kit/pickers';
import { plain } from '../../kit/safeText';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

/** Walks the whole chain of a client and says whether anything was changed behind the server's back. */
export function VerifyDialog({ tenantId, onClose }: { tenantId?: string; onClose: () => void }) {
  const me = useMe();
  const [tenant, setTenant] = useState<string>(tenantId ?? (me.is_staff ? PROVIDER_ID : me.tenant_id));
  const [result, setResult] = useState<Schema<'AuditVerification'>>();
  const { busy, error, submit } = useSubmit();

  function verify(event: FormEvent) {
    event.preventDefault();
    setResult(undefined);
    void submit(async () => setResult(await ok(api.POST('/api/v1/audit/verify', { params: { query: { tenant_id: tenant } } }))));
  }

  return (
    <FormDialog title={t('audit.verify')} onClose={onClose} onSubmit={verify} busy={busy} error={error} submit={t('audit.verifyNow')}>
      <Text size="sm" c="dimmed">
        {t('audit.verifyBody')}
      </Text>
      {me.is_staff && <TenantSelect label={t('audit.chainOf')} withProvider required value={tenant} onChange={(id) => setTenant(id ?? PROVIDER_ID)} />}
      {result && (
        <Alert color={result.intact ? 'teal' : 'red'} icon={result.intact ? <IconShieldCheck size={18} /> : <IconShieldX size={18} />} title={t(result.intact ? 'audit.intact' : 'audit.broken')} role="status">
          <Text size="sm">{t('audit.checked', { entries: number(result.entries), at: exactTime(result.checked_at) })}</Text>
          {result.problems.length > 0 && (
            <List size="sm" mt="xs">
              {result.problems.map((each) => (
                <List.Item key={each} className="foreign">
                  {plain(each)}
                </List.Item>
              ))}
            </List>
          )}
        </Alert>
      )}
    </FormDialog>
  );
}
