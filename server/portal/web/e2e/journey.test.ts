import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { DESKTOP, PHONE, launch, open, settled, shot, signIn, target } from './browser';

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

test('a wrong password is refused and says so', async () => {
  const { page, context, faults } = await open(browser);
  await page.goto(`${target.url}/devices?presence=online`);
  await page.getByLabel('E-mail address').fill(target.email);
  await page.getByRole('textbox', { name: 'Password' }).fill('not the password');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('alert').waitFor();
  // Where one wanted to go is kept, and one gets there after signing in.
  await page.getByRole('textbox', { name: 'Password' }).fill(target.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(/\/devices\?presence=online/);
  expect(faults).toEqual([]);
  await context.close();
});

test('a script runs on a device and its output is read', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.getByRole('navigation', { name: 'Main' }).getByRole('link', { name: 'Devices' }).click();
  await settled(page);
  const online = page.getByRole('row').filter({ hasText: 'Online' }).first();
  const name = (await online.getByRole('link').first().textContent()) ?? '';
  await online.getByRole('link').first().click();
  await page.getByRole('heading', { level: 1, name }).waitFor();
  await settled(page);
  await shot(page, 'journey-1-device');

  await page.getByRole('button', { name: 'Run a script' }).click();
  const dialog = page.getByRole('dialog', { name: 'Run on devices' });
  await dialog.getByText('Write now').click();
  await dialog.getByRole('textbox', { name: 'Script', exact: true }).fill('for i in 1 2 3; do echo "step $i"; sleep 0.3; done; echo careful >&2; exit 3');
  await dialog.getByText(/^1 device, 1 online now/).waitFor();
  await shot(page, 'journey-2-run');
  await dialog.getByRole('button', { name: 'Run on 1 device' }).click();

  await page.waitForURL(/\/jobs\/[0-9a-f-]{36}/);
  await page.getByRole('log').getByText('step 3').waitFor({ timeout: 60_000 });
  await page.getByText('Exit code 3', { exact: true }).waitFor({ timeout: 60_000 });
  await page.getByText('stderr', { exact: true }).first().click();
  await page.getByRole('log').getByText('careful').waitFor();
  await shot(page, 'journey-3-output');

  // The address alone leads back to it, after the token in memory is gone.
  await page.reload();
  await page.getByText('Exit code 3', { exact: true }).waitFor();
  expect(faults).toEqual([]);
  await context.close();
});

test('a script is written into the library and makes versions', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  const name = `Journey ${Date.now()}`;
  await page.goto(`${target.url}/scripts/new`);
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(name);
  await page.getByRole('textbox', { name: 'Script', exact: true }).fill('echo one');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('heading', { level: 1, name }).waitFor();
  await page.getByRole('button', { name: 'Edit' }).click();
  await page.getByRole('textbox', { name: 'Script', exact: true }).fill('echo two');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Version 2').first().waitFor();
  await page.getByRole('tab', { name: 'Versions' }).click();
  await page.getByText('Compared with version 1').waitFor();
  await page.getByText('echo one').waitFor();
  expect(faults).toEqual([]);
  await context.close();
});

test('a schedule shows its next runs while it is written', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/schedules/new`);
  await page.getByRole('textbox', { name: 'Name', exact: true }).fill(`Nightly ${Date.now()}`);
  await page.getByText('Write now').click();
  await page.getByRole('textbox', { name: 'Script', exact: true }).fill('true');
  await page.getByText('Everything', { exact: true }).click();
  const next = page.getByRole('region', { name: 'Next runs' });
  await next.getByText(/02:00/).first().waitFor();
  await page.getByRole('textbox', { name: 'Cron expression', exact: true }).fill('30 4 1 * *');
  await next.getByText(/-01 04:30/).first().waitFor();
  await shot(page, 'journey-4-schedule');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.waitForURL(/\/schedules\/[0-9a-f-]{36}/);
  await page.getByText('Cron 30 4 1 * *').first().waitFor();
  expect(faults).toEqual([]);
  await context.close();
});

test('signing out ends the session for good', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.getByRole('button', { name: /^Account of/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  await page.goto(`${target.url}/devices`);
  await page.getByRole('button', { name: 'Sign in' }).waitFor();
  expect(faults).toEqual([]);
  await context.close();
});

const PAGES = [
  '/', '/devices', '/jobs', '/schedules', '/schedules?tab=missed', '/schedules?tab=blackouts', '/schedules/new', '/scripts', '/scripts/new', '/tenants', '/enrolment', '/users', '/keys', '/policies', '/custom-fields', '/approvals', '/audit', '/settings',
  '/reference', '/profile', '/profile?tab=security', '/profile?tab=sessions', '/no-such-page',
];

for (const [screen, viewport] of [['desktop', DESKTOP], ['phone', PHONE]] as const) {
  test(`every page opens without a fault, light and dark: ${screen}`, async () => {
    const { page, context, faults } = await open(browser, viewport);
    await signIn(page);
    for (const path of PAGES) {
      await page.goto(target.url + path);
      await page.getByRole('heading', { level: 1 }).first().waitFor();
      await settled(page);
      const name = path.replace(/[^a-z]+/g, '-').replace(/^-|-$/g, '') || 'dashboard';
      for (const colorScheme of ['dark', 'light'] as const) {
        // The portal follows the system, also while it is open.
        await page.emulateMedia({ colorScheme });
        await page.locator(`html[data-mantine-color-scheme="${colorScheme}"]`).waitFor();
        await shot(page, `${name}.${screen}.${colorScheme}`);
      }
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (wider > 0) faults.push(`${path} is ${wider} px wider than the window`);
    }
    expect(faults).toEqual([]);
    await context.close();
  });
}
