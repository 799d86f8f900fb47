import { mkdirSync } from 'node:fs';
import { chromium, type Browser, type BrowserContext, type Page, type Request } from 'playwright-core';

/** Where the server runs and who signs in; without an address there is nothing to test against. */
export const target = {
  url: need('REEVE_E2E_URL'),
  email: need('REEVE_E2E_EMAIL'),
  password: need('REEVE_E2E_PASSWORD'),
};

function need(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: see e2e/README.md`);
  return value.replace(/\/$/, '');
}

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { width: 390, height: 844 };

const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--force-prefers-reduced-motion'];

export const launch = (): Promise<Browser> => chromium.launch({ executablePath: process.env.REEVE_E2E_CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });

/** A page that remembers everything that went wrong in it. */
export type Watched = { page: Page; context: BrowserContext; faults: string[] };

/**
 * Opens a window. Errors in the console, uncaught exceptions, refused resources and every violation of the
 * content security policy are faults; a test ends with `expect(faults).toEqual([])`.
 */
export async function open(browser: Browser, viewport = DESKTOP, colorScheme: 'light' | 'dark' = 'light'): Promise<Watched> {
  const context = await browser.newContext({ viewport, colorScheme, ignoreHTTPSErrors: true, locale: 'en-GB', timezoneId: 'Europe/Vienna' });
  const faults: string[] = [];
  await context.exposeBinding('reeveFault', (_, text: string) => void faults.push(text));
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      const report = (window as unknown as { reeveFault: (text: string) => void }).reeveFault;
      report(`content security policy: ${event.violatedDirective} refused ${event.blockedURI} ${event.sourceFile ?? ''}:${event.lineNumber}`);
    });
  });
  const page = await context.newPage();
  track(page);
  page.on('console', (message) => {
    if (message.type() === 'error' && !expected(message.text(), message.location().url)) faults.push(`console: ${message.text()} (${message.location().url})`);
  });
  page.on('pageerror', (error) => faults.push(`exception: ${error.message}`));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith('http') && url.origin !== new URL(target.url).origin) faults.push(`asset from elsewhere: ${request.url()}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 500) faults.push(`${response.status()} ${response.request().method()} ${response.url()}`);
  });
  return { page, context, faults };
}

// The browser writes a line for every answer above 400. Being asked who one is, is no error.
function expected(text: string, url: string): boolean {
  return text.startsWith('Failed to load resource') && (/\/api\/v1\/auth\/(refresh|login|step-up)/.test(url) || / 403 /.test(text));
}

export async function signIn(page: Page, { email, password } = target): Promise<void> {
  await page.goto(`${target.url}/sign-in`);
  await page.getByLabel('E-mail address').fill(email);
  await page.getByRole('textbox', { name: 'Password' }).fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Main' }).waitFor({ state: 'attached' });
}

/** Confirms one's identity if the dialog asks for it. */
export async function confirmIdentity(page: Page): Promise<void> {
  const dialog = page.getByRole('dialog', { name: 'Confirm your identity' });
  await dialog.getByRole('textbox', { name: 'Password' }).fill(target.password);
  await dialog.getByRole('button', { name: 'Confirm' }).click();
  await dialog.waitFor({ state: 'detached' });
}

const QUIET_MS = 250;

/** Requests that are under way, by page: the load state of the browser knows nothing of a page that stays. */
const underWay = new WeakMap<Page, { open: Set<Request>; last: number }>();

function track(page: Page) {
  const state = { open: new Set<Request>(), last: Date.now() };
  underWay.set(page, state);
  const ended = (request: Request) => {
    state.open.delete(request);
    state.last = Date.now();
  };
  page.on('request', (request) => {
    state.open.add(request);
    state.last = Date.now();
  });
  page.on('requestfinished', ended);
  page.on('requestfailed', ended);
}

/** Waits until nothing is loading any more: no request for a moment, and nothing on the page says it is busy. */
export async function settled(page: Page): Promise<void> {
  const end = Date.now() + 10_000;
  while (Date.now() < end) {
    const state = underWay.get(page);
    const quiet = !state || (state.open.size === 0 && Date.now() - state.last > QUIET_MS);
    if (quiet && !(await page.locator('#main [aria-busy="true"]').count())) return;
    await page.waitForTimeout(50);
  }
}

const folder = process.env.REEVE_E2E_SHOTS ?? '';

/** Writes a screenshot into REEVE_E2E_SHOTS, when it is set. */
export async function shot(page: Page, name: string): Promise<void> {
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: `${folder}/${name}.png` });
}
