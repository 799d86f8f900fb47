import { Alert, Anchor, Button, Group, PasswordInput, Stack, TextInput } from '@mantine/core';
import { useState, useSyncExternalStore, type FormEvent } from 'react';
import { Link, Navigate, useSearchParams } from 'react-router';
import { session } from '../../api/client';
import { ProblemError } from '../../api/problem';
import { FormErrors } from '../../kit/States';
import { t } from '../../messages/t';
import { AuthFrame } from './AuthFrame';

type Step = 'password' | 'otp' | 'recovery';

export function Component() {
  const state = useSyncExternalStore(session.subscribe, session.snapshot);
  const [params] = useSearchParams();
  const [step, setStep] = useState<Step>('password');
  const [email, setEmail] = useState('');
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);

  if (state === 'signed-in') return <Navigate to={safeNext(params.get('next'))} replace />;

  async function submit(event: FormEvent) {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const factor = step === 'otp' ? { otp: code.replace(/\s/g, '') } : step === 'recovery' ? { recovery_code: code.trim() } : {};
      await session.login({ email: email.trim(), password, ...factor });
    } catch (failure) {
      if (failure instanceof ProblemError && failure.is('otp-required') && step === 'password') setStep('otp');
      else setError(failure);
      setCode('');
    } finally {
      setBusy(false);
    }
  }

  return (
    <AuthFrame title={step === 'password' ? t('auth.signInTitle') : t('auth.codeTitle')} {...(step === 'password' ? {} : { intro: t('auth.codeBody') })}>
      <form onSubmit={(event) => void submit(event)}>
        <Stack gap="md">
          {step === 'password' && (
            <>
              <TextInput label={t('auth.email')} type="email" autoComplete="username" required autoFocus value={email} onChange={(event) => setEmail(event.currentTarget.value)} />
              <PasswordInput label={t('auth.password')} autoComplete="current-password" required value={password} onChange={(event) => setPassword(event.currentTarget.value)} />
            </>
          )}
          {step === 'otp' && <TextInput key="otp" label={t('auth.code')} inputMode="numeric" autoComplete="one-time-code" required autoFocus maxLength={10} value={code} onChange={(event) => setCode(event.currentTarget.value)} />}
          {step === 'recovery' && <TextInput key="recovery" label={t('auth.recoveryCode')} autoComplete="off" required autoFocus value={code} onChange={(event) => setCode(event.currentTarget.value)} />}
          <SignInError error={error} />
          <Button type="submit" size="sm" fullWidth loading={busy}>
            {t('auth.signIn')}
          </Button>
          <Group justify="space-between">
            {step === 'password' ? (
              <Anchor component={Link} to="/reset-password" size="sm">
                {t('auth.forgot')}
              </Anchor>
            ) : (
              <>
                <Anchor component="button" type="button" size="sm" onClick={() => setStep('password')}>
                  {t('auth.backToSignIn')}
                </Anchor>
                <Anchor component="button" type="button" size="sm" onClick={() => setStep(step === 'otp' ? 'recovery' : 'otp')}>
                  {step === 'otp' ? t('auth.useRecoveryCode') : t('auth.useCode')}
                </Anchor>
              </>
            )}
          </Group>
        </Stack>
      </form>
    </AuthFrame>
  );
}

function SignInError({ error }: { error: unknown }) {
  if (!(error instanceof ProblemError)) return <FormErrors error={error} />;
  const { status, retry_after_seconds: wait } = error.problem;
  if (status === 429) {
    return (
      <Alert color="yellow" role="alert">
        {t('auth.tooMany', { seconds: wait ?? 60 })}
      </Alert>
    );
  }
  if (status === 401) {
    return (
      <Alert color="red" role="alert">
        {error.problem.detail || t('auth.wrong')}
      </Alert>
    );
  }
  return <FormErrors error={error} />;
}

// Only addresses of this portal: a link to sign in must not lead elsewhere afterwards.
function safeNext(next: string | null): string {
  return next && /^\/(?![/\\])/.test(next) && !next.startsWith('/sign-in') ? next : '/';
}
