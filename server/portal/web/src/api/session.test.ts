import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Session } from './session';

const tokens = (name: string) => ({ access_token: name, token_type: 'Bearer', expires_in: 900, second_factor_setup_required: false });
const json = (status: number, body: unknown) => new Response(JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json' } });

type Handler = (request: Request) => Response | Promise<Response>;

function serve(handler: Handler) {
  const seen: Request[] = [];
  vi.stubGlobal('fetch', async (input: Request | URL, init?: RequestInit) => {
    const request = new Request(input, init);
    seen.push(request.clone());
    return handler(request);
  });
  return seen;
}

const path = (request: Request) => new URL(request.url).pathname;
const get = (address: string) => new Request(new URL(address, location.origin));

describe('session', () => {
  let session: Session;
  beforeEach(() => {
    session = new Session();
  });
  afterEach(() => vi.unstubAllGlobals());

  test('starts signed out without a cookie', async () => {
    serve(() => json(401, { type: '/problems/unauthenticated', title: 'no', status: 401 }));
    await session.start();
    expect(session.state).toBe('signed-out');
  });

  test('many refused requests share one refresh, and each is repeated', async () => {
    let good = 'old';
    const seen = serve((request) => {
      if (path(request).endsWith('/login')) return json(200, tokens('old'));
      if (path(request).endsWith('/refresh')) {
        good = 'new';
        return json(200, tokens('new'));
      }
      return request.headers.get('Authorization') === `Bearer ${good}` && good === 'new' ? json(200, {}) : json(401, {});
    });
    await session.login({ email: 'a@b.example', password: 'x' });
    const answers = await Promise.all(['/1', '/2', '/3'].map((each) => session.fetch(get(each))));
    expect(answers.map((each) => each.status)).toEqual([200, 200, 200]);
    expect(seen.filter((each) => path(each).endsWith('/refresh'))).toHaveLength(1);
  });

  test('a refresh that is refused signs out', async () => {
    serve((request) => (path(request).endsWith('/login') ? json(200, tokens('t')) : json(401, {})));
    await session.login({ email: 'a@b.example', password: 'x' });
    const answer = await session.fetch(get('/thing'));
    expect(answer.status).toBe(401);
    expect(session.state).toBe('signed-out');
  });

  test('a server that does not answer does not sign out', async () => {
    let down = false;
    vi.stubGlobal('fetch', async (input: Request | URL) => {
      if (down) throw new TypeError('network');
      return String(input instanceof Request ? input.url : input).endsWith('/login') ? json(200, tokens('t')) : json(200, {});
    });
    await session.login({ email: 'a@b.example', password: 'x' });
    down = true;
    await expect(session.fetch(get('/thing'))).rejects.toMatchObject({ problem: { type: '/problems/unreachable' } });
    expect(session.state).toBe('signed-in');
  });

  test('a step-up is asked for once and the request repeated with its body', async () => {
    const bodies: string[] = [];
    serve(async (request) => {
      if (path(request).endsWith('/login')) return json(200, tokens('plain'));
      if (path(request).endsWith('/step-up')) return json(200, tokens('strong'));
      bodies.push(await request.text());
      return request.headers.get('Authorization') === 'Bearer strong' ? json(200, {}) : json(403, { type: '/problems/step-up-required', title: 'again', status: 403 });
    });
    await session.login({ email: 'a@b.example', password: 'x' });
    const ask = vi.fn(async () => {
      await session.stepUp({ password: 'x' });
      return true;
    });
    session.askStepUp = ask;
    const send = () => session.fetch(new Request(new URL('/act', location.origin), { method: 'POST', body: '{"a":1}' }));
    const [one, two] = await Promise.all([send(), send()]);
    expect([one?.status, two?.status]).toEqual([200, 200]);
    expect(ask).toHaveBeenCalledTimes(1);
    expect(bodies).toEqual(['{"a":1}', '{"a":1}', '{"a":1}', '{"a":1}']);
  });

  test('the refresh goes with the cookie and the header that another site cannot send', async () => {
    const seen = serve(() => json(200, tokens('t')));
    await session.start();
    expect(seen[0]?.headers.get('X-Reeve-Session')).toBe('cookie');
    expect(seen[0]?.credentials).toBe('same-origin');
    expect(session.state).toBe('signed-in');
  });
});
