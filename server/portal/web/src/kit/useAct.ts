import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { notifyDone, notifyProblem } from './notify';

/**
 * Runs an act of one click: busy meanwhile, problems as a notice, and what was loaded under `keys` is read anew.
 */
export function useAct(...keys: string[]) {
  const client = useQueryClient();
  const [busy, setBusy] = useState(false);

  async function act<T>(work: () => Promise<T>, done?: string): Promise<T | undefined> {
    setBusy(true);
    try {
      const result = await work();
      if (done) notifyDone(done);
      await Promise.all(keys.map((key) => client.invalidateQueries({ queryKey: [key] })));
      return result;
    } catch (error) {
      notifyProblem(error);
      return undefined;
    } finally {
      setBusy(false);
    }
  }

  return { act, busy };
}
