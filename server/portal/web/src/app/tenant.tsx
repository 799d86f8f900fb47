import { useCallback } from 'react';
import { useLocation, useNavigate, useSearchParams, type NavigateOptions } from 'react-router';

const KEY = 'tenant';

/** The client chosen in the header, or undefined for all; it lives in the address so that links carry it. */
export function useTenantId(): string | undefined {
  const [params] = useSearchParams();
  return params.get(KEY) ?? undefined;
}

/** Makes addresses that keep the chosen client. */
export function useKeepTenant(): (to: string) => string {
  const tenant = useTenantId();
  return useCallback(
    (to: string) => {
      if (!tenant) return to;
      const [path = '', hash] = to.split('#');
      const [pathname, query] = path.split('?');
      const params = new URLSearchParams(query);
      if (!params.has(KEY)) params.set(KEY, tenant);
      return `${pathname}?${params}${hash ? `#${hash}` : ''}`;
    },
    [tenant],
  );
}

/** Navigates and keeps the chosen client. */
export function useGo(): (to: string, options?: NavigateOptions) => void {
  const navigate = useNavigate();
  const keep = useKeepTenant();
  return useCallback((to, options) => void navigate(keep(to), options), [navigate, keep]);
}

/** Chooses a client, staying on the page but dropping what belonged to the other one. */
export function useChooseTenant(): (id: string | undefined) => void {
  const navigate = useNavigate();
  const { pathname } = useLocation();
  return useCallback(
    (id) => {
      // A page of one object may belong to another client: go up to its list.
      const list = pathname.split('/').slice(0, 2).join('/') || '/';
      void navigate(id ? `${list}?${KEY}=${id}` : list);
    },
    [navigate, pathname],
  );
}
