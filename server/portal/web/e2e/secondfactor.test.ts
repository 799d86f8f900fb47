import { createHmac } from 'node:crypto';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { launch, open, settled, shot, signIn, target } from './browser';

const PROVIDER = '01900000-0000-7000-8000-000000000001';
const PASSWORD = 'walnut-ferry-quartz-17';

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

async function call(path: string, body: unknown, token?: string): Promise<Record<string, unknown>> {
  const answer = await fetch(target.url + path, { method: 'POST', headers: { 'Content-Type': 'application/json', ...(token ? { Authorization: `Bearer ${token}` } : {}) }, body: JSON.stringify(body) });
  const result = (await answer.json()) as Record<string, unknown>;
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${JSON.stringify(result)}`);
  return result;
}

/** Somebody new, and the link with which they set their password. */
async function invite(email: string): Promise<string> {
  const { access_token: token } = await call('/api/v1/auth/login', { email: target.email, password: target.password });
  const invitation = await call('/api/v1/users', { tenant_id: PROVIDER, email, name: 'Grace Hopper', grants: [{ role: 'technician', all_tenants: true }] }, String(token));
  return (invitation.link as { url: string }).url;
}

/** The code of an authenticator app (RFC 6238) at a time. */
function code(secret: string, at: number): string {
  const bits = [...secret.replace(/=+$/, '')].map((letter) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const hash = createHmac('sha1', key).update(counter).digest();
  const offset = (hash.at(-1) ?? 0) & 15;
  return String((hash.readUInt32BE(offset) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

test('a second factor is set up, asked for, and replaced by a recovery code', async () => {
  const email = `grace-${Date.now()}@reeve.example`;
  const link = await invite(email);
  const { page, context, faults } = await open(browser);

  // The link leads to the portal of this server, wherever the server thinks it is reached.
  await page.goto(target.url + new URL(link).pathname + new URL(link).hash);
  await page.getByRole('textbox', { name: 'New password', exact: true }).fill(PASSWORD);
  await page.getByRole('textbox', { name: 'New password again' }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Set the password' }).click();
  await page.getByText('Your password is set').waitFor();

  await signIn(page, { ...target, email, password: PASSWORD });
  await page.goto(`${target.url}/profile?tab=security`);
  await page.getByRole('button', { name: 'Set up' }).click();
  const stepUp = page.getByRole('dialog', { name: 'Confirm your identity' });
  const setup = page.getByRole('dialog', { name: 'Set up a second factor' });
  await stepUp.or(setup).waitFor();
  if (await stepUp.isVisible()) {
    await stepUp.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
    await stepUp.getByRole('button', { name: 'Confirm' }).click();
  }
  const secret = (await setup.locator('pre').textContent()) ?? '';
  await shot(page, 'second-factor-1-setup');
  await setup.getByRole('textbox').fill(code(secret.trim(), Date.now()));
  await setup.getByRole('button', { name: 'Confirm' }).click();
  const codes = page.getByRole('dialog', { name: 'Recovery codes' });
  const recovery = ((await codes.locator('pre').textContent()) ?? '').split('\n')[0] ?? '';
  await codes.getByRole('button', { name: 'I have saved them' }).click();
  await settled(page);
  await page.getByText('Enabled', { exact: true }).waitFor();

  for (const answer of ['code', 'recovery code'] as const) {
    await page.getByRole('button', { name: /^Account of/ }).click();
    await page.getByRole('menuitem', { name: 'Sign out' }).click();
    await page.getByLabel('E-mail address').fill(email);
    await page.getByRole('textbox', { name: 'Password' }).fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('heading', { name: 'Enter your code' }).waitFor();
    if (answer === 'code') {
      // A code works once, so that the next one is given; the server allows for a clock that is ahead.
      await page.getByRole('textbox').fill(code(secret.trim(), Date.now() + 30_000));
    } else {
      await page.getByRole('button', { name: 'Use a recovery code' }).click();
      await page.getByRole('textbox', { name: 'Recovery code' }).fill(recovery);
    }
    await shot(page, `second-factor-2-${answer.replace(' ', '-')}`);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Main' }).waitFor();
  }
  expect(faults).toEqual([]);
  await context.close();
});
