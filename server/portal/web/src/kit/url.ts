import { useCallback, useMemo } from 'react';
import { useSearchParams } from 'react-router';

export type UrlValues = Record<string, string | undefined>;

/**
 * State that lives in the address, so that every view can be shared and the back button works.
 * Setting a value to undefined or '' removes it.
 */
export function useUrlState(): [UrlValues, (changes: UrlValues, push?: boolean) => void] {
  const [params, setParams] = useSearchParams();
  const values = useMemo(() => Object.fromEntries(params.entries()) as UrlValues, [params]);
  const change = useCallback(
    (changes: UrlValues, push = false) => {
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [key, value] of Object.entries(changes)) {
            if (value) next.set(key, value);
            else next.delete(key);
          }
          return next;
        },
        { replace: !push },
      );
    },
    [setParams],
  );
  return [values, change];
}
