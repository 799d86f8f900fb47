import { useState } from 'react';
import { useGo, useTenantId } from '../../app/tenant';
import { FormDialog } from '../../kit/FormDialog';
import { DeviceSelect } from '../../kit/pickers';
import { t } from '../../messages/t';

/** Leads to what holds for one device, with the policy each value comes from. */
export function EffectiveDialog({ onClose }: { onClose: () => void }) {
  const [device, setDevice] = useState<string | null>(null);
  const tenant = useTenantId();
  const go = useGo();
  return (
    <FormDialog
      title={t('policies.effective')}
      onClose={onClose}
      onSubmit={(event) => {
        event.preventDefault();
        if (device) go(`/devices/${device}?tab=policy`);
      }}
      busy={false}
      error={null}
      submit={t('policies.show')}
      disabled={!device}
    >
      <DeviceSelect description={t('policies.effectiveHint')} value={device} onChange={setDevice} tenantId={tenant} />
    </FormDialog>
  );
}
