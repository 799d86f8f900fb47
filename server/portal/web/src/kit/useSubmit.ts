import { useState } from 'react';
import type { UseFormReturnType } from '@mantine/form';
import { fieldErrors } from './States';

/**
 * Runs the sending of a form: busy while it runs, the server's faults go to the fields they point at,
 * the rest to `error`, which `<FormErrors>` shows.
 */
export function useSubmit<V>(form?: Pick<UseFormReturnType<V>, 'setErrors'>) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  async function submit(work: () => Promise<void>) {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (failure) {
      setError(failure);
      form?.setErrors(fieldErrors(failure));
    } finally {
      setBusy(false);
    }
  }

  return { busy, error, submit, clear: () => setError(null) };
}
