import { Alert, Anchor, Button, PasswordInput, Stack } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { Link, useLocation } from 'react-router';
import { api, ok } from '../../api/client';
import { ProblemError } from '../../api/problem';
import { FormErrors } from '../../kit/States';
import { useSubmit } from '../../kit/useSubmit';
import { t } from '../../messages/t';
import { AuthFrame } from './AuthFrame';

/** Where one-time links lead: an invitation or a reset. The token sits behind the #, which no server ever logs. */
export function Component() {
  const { hash, search } = useLocation();
  const token = new URLSearchParams(hash.slice(1)).get('token') ?? new URLSearchParams(search).get('token');
  const [password, setPassword] = useState('');
  const [again, setAgain] = useState('');
  const [done, setDone] = useState(false);
  const { busy, error, submit } = useSubmit();
  const differ = again !== '' && again !== password;

  function send(event: FormEvent) {
    event.preventDefault();
    if (differ || !token) return;
    void submit(async () => {
      await ok(api.POST('/api/v1/auth/password-reset/complete', { body: { token, new_password: password } }));
      setDone(true);
    });
  }

  const gone = error instanceof ProblemError && error.status === 410;
  return (
    <AuthFrame title={t('auth.setPasswordTitle')}>
      {done && (
        <Alert color="teal" role="status">
          {t('auth.setPasswordDone')}
        </Alert>
      )}
      {!token && <Alert color="red">{t('auth.invalidLink')}</Alert>}
      {token && !done && (
        <form onSubmit={send}>
          <Stack gap="md">
            <PasswordInput label={t('auth.newPassword')} description={t('auth.newPasswordHint')} autoComplete="new-password" required autoFocus value={password} onChange={(event) => setPassword(event.currentTarget.value)} />
            <PasswordInput label={t('auth.newPasswordAgain')} autoComplete="new-password" required value={again} onChange={(event) => setAgain(event.currentTarget.value)} error={differ ? t('auth.passwordsDiffer') : undefined} />
            {gone ? (
              <Alert color="red" role="alert">
                {t('auth.linkGone')}
              </Alert>
            ) : (
              <FormErrors error={error} />
            )}
            <Button type="submit" size="sm" fullWidth loading={busy} disabled={differ}>
              {t('auth.setPassword')}
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
