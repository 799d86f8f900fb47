import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { confirmIdentity, launch, open, settled, shot, signIn, target } from './browser';

let browser: Browser;

beforeAll(async () => {
  browser = await launch();
});

afterAll(async () => {
  await browser.close();
});

// Names of one run differ from those of the run before on the same server.
const run = Date.now().toString(36);

/** Chooses an option of a select of the open dialog. */
async function choose(page: Page, label: string, option: string | RegExp) {
  // Beside a dialog, the page's own fields cannot be reached.
  await page.getByRole('dialog').getByRole('combobox', { name: label, exact: true }).click();
  await page.getByRole('option', { name: option }).first().click();
}

/** Waits for what an act leads to; where the server wants to know who is acting, says so first. */
async function confirmed(page: Page, then: () => Promise<void>) {
  const dialog = page.getByRole('dialog', { name: 'Confirm your identity' });
  const asked = dialog.waitFor({ timeout: 3_000 }).then(() => true, () => false);
  if (await asked) await confirmIdentity(page);
  await then();
}

test('a client gets a site, is suspended and resumed', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/tenants`);
  await page.getByRole('button', { name: 'New client' }).first().click();
  await page.getByRole('textbox', { name: 'Name' }).fill(`Client ${run}`);
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('heading', { level: 1, name: `Client ${run}` }).waitFor();
  await page.getByRole('row', { name: /Main office/ }).waitFor();

  await page.getByRole('button', { name: 'New site' }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill('Branch');
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('row', { name: /Branch/ }).click();
  await page.getByRole('dialog', { name: 'Branch' }).getByText(/as the client/).waitFor();
  expect(page.url()).toContain('site=');
  await page.keyboard.press('Escape');

  await page.getByRole('button', { name: 'More' }).click();
  await page.getByRole('menuitem', { name: 'Suspend' }).click();
  const why = page.getByRole('dialog', { name: `Suspend Client ${run}?` });
  expect(await why.getByRole('button', { name: 'Suspend' }).isDisabled()).toBe(true);
  await why.getByRole('textbox', { name: 'Reason' }).fill('The contract ended');
  await why.getByRole('button', { name: 'Suspend' }).click();
  await page.getByText('This client is suspended').waitFor();
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Resume' }).click();
  await page.getByText('This client is suspended').waitFor({ state: 'detached' });

  await page.getByRole('tab', { name: 'Settings' }).click();
  await page.getByRole('textbox', { name: 'Devices of one job' }).fill('7');
  await page.getByRole('button', { name: 'Set own limits' }).click();
  await confirmed(page, () => page.getByText('Saved').first().waitFor());
  await page.reload();
  await settled(page);
  expect(await page.getByRole('textbox', { name: 'Devices of one job' }).inputValue()).toBe('7');
  expect(faults).toEqual([]);
  await context.close();
});

test('a token is shown once, with a line to paste for each system', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/enrolment`);
  await page.getByRole('button', { name: 'New token' }).first().click();
  await choose(page, 'Client', `Client ${run}`);
  await choose(page, 'Site', 'Branch');
  await page.getByRole('textbox', { name: 'Name' }).fill(`Desks ${run}`);
  await page.getByRole('button', { name: 'Create' }).click();
  const made = page.getByRole('dialog', { name: /^Add devices to/ });
  const token = (await made.getByLabel('Token', { exact: true }).textContent()) ?? '';
  expect(token.length).toBeGreaterThan(20);
  for (const tab of await made.getByRole('tab').all()) {
    await tab.click();
    expect(await made.getByRole('tabpanel').textContent()).toContain(token);
  }
  await shot(page, 'admin-token');
  await made.getByRole('button', { name: 'Close' }).last().click();
  await page.getByRole('row', { name: new RegExp(`Desks ${run}`) }).getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('row', { name: new RegExp(`Desks ${run}.*Revoked`) }).waitFor();
  expect(await page.content()).not.toContain(token);
  expect(faults).toEqual([]);
  await context.close();
});

test('somebody is invited, sets a password, and sees only what they may', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/users`);
  await page.getByRole('button', { name: 'Invite user' }).click();
  const dialog = page.getByRole('dialog', { name: 'Invite user' });
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Eve Auditor');
  await dialog.getByRole('textbox', { name: 'E-mail' }).fill(`eve-${run}@example.com`);
  await choose(page, 'Role', 'Auditor');
  await dialog.getByText('All clients', { exact: true }).click();
  await dialog.getByRole('button', { name: 'Invite', exact: true }).click();
  const link = (await page.getByLabel('One-time link', { exact: true }).textContent()) ?? '';
  await page.getByRole('checkbox', { name: 'I have put it somewhere safe' }).check();
  await page.getByRole('button', { name: 'Close' }).last().click();

  const guest = await open(browser);
  const { pathname, hash } = new URL(link);
  await guest.page.goto(target.url + pathname + hash);
  await guest.page.getByRole('textbox', { name: 'New password', exact: true }).fill('plover tundra 48 lantern');
  await guest.page.getByRole('textbox', { name: 'New password again' }).fill('plover tundra 48 lantern');
  await guest.page.getByRole('button', { name: 'Set the password' }).click();
  await guest.page.getByText('Your password is set').waitFor();
  await signIn(guest.page, { ...target, email: `eve-${run}@example.com`, password: 'plover tundra 48 lantern' });
  const nav = guest.page.getByRole('navigation', { name: 'Main' });
  await nav.getByRole('link', { name: 'Audit' }).waitFor();
  expect(await nav.getByRole('link', { name: 'Enrolment' }).count()).toBe(0);
  await guest.page.goto(`${target.url}/users`);
  await guest.page.getByRole('row', { name: /Eve Auditor/ }).first().waitFor();
  expect(await guest.page.getByRole('button', { name: 'Invite user' }).count()).toBe(0);
  await guest.page.goto(`${target.url}/settings`);
  await settled(guest.page);
  expect(await guest.page.getByRole('textbox', { name: 'Name of your company' }).isDisabled()).toBe(true);

  // Taking the role away holds from the next request on.
  await page.goto(`${target.url}/users?q=${encodeURIComponent(`eve-${run}`)}`);
  await page.getByRole('link', { name: 'Eve Auditor' }).click();
  await page.getByRole('button', { name: 'Change roles' }).click();
  await page.getByRole('button', { name: 'Remove the role Auditor' }).click();
  await page.getByRole('dialog', { name: /^Roles of/ }).getByRole('button', { name: 'Save' }).click();
  await confirmed(page, () => page.getByText('No roles: may sign in and do nothing.').first().waitFor());
  await guest.page.goto(`${target.url}/audit`);
  await guest.page.getByRole('heading', { level: 1 }).waitFor();
  await settled(guest.page);
  expect(await guest.page.getByRole('row').filter({ hasText: 'Signed in' }).count()).toBe(0);

  await page.getByRole('button', { name: 'More' }).click();
  await page.getByRole('menuitem', { name: 'Disable' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
  await page.getByText('Disabled', { exact: true }).first().waitFor();
  expect(faults).toEqual([]);
  expect(guest.faults.filter((each) => !/ 403 /.test(each))).toEqual([]);
  await guest.context.close();
  await context.close();
});

test('an API key is shown once and works until it is revoked', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/keys`);
  await page.getByRole('button', { name: 'New API key' }).first().click();
  const dialog = page.getByRole('dialog', { name: 'New API key' });
  await dialog.getByRole('textbox', { name: 'Name' }).fill(`Key ${run}`);
  await dialog.getByText('All clients', { exact: true }).click();
  await dialog.getByRole('button', { name: 'Everything that only reads' }).click();
  await dialog.getByRole('button', { name: 'Create' }).click();
  const shown = page.getByLabel('Key', { exact: true });
  await confirmed(page, () => shown.waitFor());
  const secret = (await shown.textContent()) ?? '';
  const ask = () => fetch(`${target.url}/api/v1/tenants`, { headers: { Authorization: `Bearer ${secret}` } }).then((answer) => answer.status);
  expect(await ask()).toBe(200);
  await page.getByRole('checkbox', { name: 'I have put it somewhere safe' }).check();
  await page.getByRole('button', { name: 'Close' }).last().click();
  await page.getByRole('button', { name: `Revoke the key Key ${run}?` }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('row', { name: new RegExp(`Key ${run}.*Revoked`) }).waitFor();
  expect(await ask()).toBe(401);
  expect(faults).toEqual([]);
  await context.close();
});

test('policies and custom fields are made, changed and deleted', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/policies?policy=new`);
  await page.getByRole('textbox', { name: 'Name' }).fill(`Policy ${run}`);
  await choose(page, 'Holds for', 'Client');
  await choose(page, 'Client', `Client ${run}`);
  await page.getByRole('checkbox', { name: 'Set “Sync every” here' }).check();
  await page.getByRole('textbox', { name: 'Sync every', exact: true }).fill('5');
  await page.getByRole('button', { name: 'Create' }).click();
  await page.getByRole('row', { name: new RegExp(`Policy ${run}.*Sync every: 5 min`) }).click();
  await page.getByRole('button', { name: 'Delete this policy' }).click();
  await page.getByRole('dialog', { name: `Delete Policy ${run}?` }).getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('row', { name: new RegExp(`Policy ${run}`) }).waitFor({ state: 'detached' });

  await page.goto(`${target.url}/custom-fields`);
  await page.getByRole('button', { name: 'New field' }).first().click();
  await page.getByRole('textbox', { name: 'Label' }).fill(`Rack ${run}`);
  expect(await page.getByRole('textbox', { name: 'Key' }).inputValue()).toBe(`rack_${run}`);
  await page.getByRole('button', { name: 'Create' }).click();
  const row = page.getByRole('row', { name: new RegExp(`Rack ${run}`) });
  await row.getByRole('button').click();
  const dialog = page.getByRole('dialog', { name: `Delete the field Rack ${run}?` });
  await dialog.getByRole('textbox').fill(`rack_${run}`);
  await dialog.getByRole('button', { name: 'Delete' }).click();
  await confirmed(page, () => row.waitFor({ state: 'detached' }));
  expect(faults).toEqual([]);
  await context.close();
});

test('the audit trail is filtered in the address, shows what changed, and its chain is verified', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/audit`);
  await page.getByRole('textbox', { name: 'Action' }).fill('tenant.suspended');
  await page.waitForURL(/action=tenant.suspended/);
  // The address changes before the rows do: wait for the row that is meant.
  await page.getByRole('row').filter({ hasText: `Client ${run}` }).filter({ hasText: /suspended/i }).first().click();
  const drawer = page.getByRole('dialog', { name: 'Tenant suspended' });
  await drawer.getByRole('row', { name: /state/ }).getByText('suspended').waitFor();
  await shot(page, 'admin-audit');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Verify', exact: true }).click();
  await page.getByRole('button', { name: 'Verify the chain' }).click();
  await page.getByText('The chain is intact').waitFor();
  expect(faults).toEqual([]);
  await context.close();
});

test('the API is described under the server’s own address', async () => {
  const { page, context, faults } = await open(browser);
  await signIn(page);
  await page.goto(`${target.url}/reference`);
  await page.getByRole('searchbox', { name: 'Find an operation' }).fill('createSchedule');
  await page.getByRole('button', { name: /POST.*\/api\/v1\/schedules/ }).click();
  await page.getByLabel('Try it with curl').getByText(/curl -X POST/).waitFor();
  expect(page.url()).toContain('op=createSchedule');
  expect(faults).toEqual([]);
  await context.close();
});
