import { Alert, Anchor, Button, Stack, TextInput } from '@mantine/core';
import { IconMailCheck } from '@tabler/icons-react';
import { useState, type FormEvent } from 'react';
import { Link } from 'react-router';
import { api, ok } from '../../api/client';
import { FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { AuthFrame } from './AuthFrame';

export function Component() {
  const [email, setEmail] = useState('');
  const [sent, setSent] = useState(false);
  const { busy, error, submit } = useSubmit();

  function send(event: FormEvent) {
    event.preventDefault();
    void submit(async () => {
      await ok(api.POST('/api/v1/auth/password-reset', { body: { email: email.trim() } }));
      setSent(true);
    });
  }

  return (
    <AuthFrame title={t('auth.resetTitle')}>
      {sent ? (
        <Alert color="teal" icon={<IconMailCheck size={18} />} title={t('auth.resetDone')} role="status">
          {t('auth.resetBody')}
        </Alert>
      ) : (
        <form onSubmit={send}>
          <Stack gap="md">
            <TextInput label={t('auth.email')} type="email" autoComplete="username" required autoFocus value={email} onChange={(event) => setEmail(event.currentTarget.value)} />
            <FormErrors error={error} />
            <Button type="submit" size="sm" fullWidth loading={busy}>
              {t('auth.resetSend')}
            </Button>
          </Stack>
        </form>
      )}
      <Anchor component={Link} to="/sign-in" size="sm">
        {t('auth.backToSignIn')}
      </Anchor>
    </AuthFrame>
  );
}
