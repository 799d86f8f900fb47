import { useQuery } from '@tanstack/react-query';
import { createContext, useContext } from 'react';
import { api, ok } from '../api/client';
import type { Me } from '../api/types';

export const MeContext = createContext<Me | null>(null);

export const meQuery = () => ({
  queryKey: ['me'],
  queryFn: ({ signal }: { signal: AbortSignal }) => ok(api.GET('/api/v1/auth/me', { signal })),
  staleTime: 60_000,
});

export const useMeQuery = (enabled: boolean) => useQuery({ ...meQuery(), enabled });

/** The signed-in user. Only below the shell, which waits for it. */
export function useMe(): Me {
  const me = useContext(MeContext);
  if (!me) throw new Error('useMe outside of the shell');
  return me;
}

/**
 * Whether the user holds a permission over at least one tenant. It only hides what would be refused:
 * the server decides.
 */
export function useCan(): (permission: string) => boolean {
  const { permissions } = useMe();
  return (permission) => permissions.includes(permission);
}

/** The tenant row of the MSP itself, fixed in every installation. */
export const PROVIDER_ID = '01900000-0000-7000-8000-000000000001';
