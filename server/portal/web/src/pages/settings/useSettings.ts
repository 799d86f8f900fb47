import { useForm } from '@mantine/form';
import { useQueryClient } from '@tanstack/react-query';
import { notifyDone } from '../../kit/notify';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';

/** The form of a settings document `{version, value}`; the server's faults point into the value. */
export function useSettings<V extends Record<string, unknown>>(initial: V, send: (value: V) => Promise<unknown>) {
  const client = useQueryClient();
  const form = useForm<V>({ initialValues: initial });
  const { busy, error, submit } = useSubmit<V>({ setErrors: (errors) => form.setErrors(Object.fromEntries(Object.entries(errors).map(([path, text]) => [path.replace(/^value\./, ''), text]))) });
  const save = form.onSubmit((value) =>
    submit(async () => {
      await send(value);
      await client.invalidateQueries({ queryKey: ['settings'] });
      notifyDone(t('kit.saved'));
    }),
  );
  return { form, busy, error, save, shown: Object.keys(initial).map((name) => `value.${name}`) };
}
