import { useQuery } from '@tanstack/react-query';
import { api, ok } from '../api/client';

/** The name of a client that is known by its id only. */
export function TenantName({ id }: { id: string }) {
  const tenant = useQuery({ queryKey: ['tenants', id], queryFn: ({ signal }) => ok(api.GET('/api/v1/tenants/{id}', { params: { path: { id } }, signal })), staleTime: 300_000, retry: false });
  return <>{tenant.data?.name ?? (tenant.isError ? id.slice(0, 8) : '…')}</>;
}
