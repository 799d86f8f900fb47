import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../../api/client';
import { Link } from '../../kit/Link';
import { Loaded } from '../../kit/Loaded';
import { EmptyState } from '../../kit/States';
import { useCan } from '../../app/me';
import { t } from '../../messages/t';
import { CustomFieldsPanel } from '../devices/CustomFieldsPanel';

type Props = { objectType: 'tenant' | 'site'; objectId: string };

/** The values of the custom fields, or where to define some. */
export function FieldsTab({ objectType, objectId }: Props) {
  const can = useCan();
  const path = { object_type: objectType, object_id: objectId };
  const values = useQuery({
    queryKey: ['custom-field-values', objectType, objectId],
    queryFn: ({ signal }) => ok(api.GET('/api/v1/custom-field-values/{object_type}/{object_id}', { params: { path }, signal })),
  });
  return (
    <Loaded query={values} rows={2}>
      {({ items }) =>
        items.length > 0 ? (
          <CustomFieldsPanel objectType={objectType} objectId={objectId} />
        ) : (
          <EmptyState title={t('customFields.noneHere')} action={can('custom_fields.manage') ? <Link to="/custom-fields">{t('customFields.define')}</Link> : undefined}>
            {t('customFields.noneHint')}
          </EmptyState>
        )
      }
    </Loaded>
  );
}
