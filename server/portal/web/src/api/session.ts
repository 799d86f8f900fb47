import { problemOf, unreachable } from './problem';
import type { Schema } from './types';

export type SessionState = 'starting' | 'signed-out' | 'signed-in';

type TokenSet = Schema<'TokenSet'>;

const COOKIE_SESSION = { 'X-Reeve-Session': 'cookie' };
const REFRESH_LOCK = 'reeve.refresh';
// Refreshing a little early saves the round trip of a refused request.
const EARLY_MS = 15_000;

/**
 * The signed-in session: the access token lives in memory only, the refresh token in an HttpOnly cookie
 * that this code never sees.
 */
export class Session {
  state: SessionState = 'starting';
  /** Asks the person to confirm who they are; set by the dialog. */
  askStepUp: (() => Promise<boolean>) | null = null;

  private token: string | null = null;
  private expiresAt = 0;
  private refreshing: Promise<boolean> | null = null;
  private steppingUp: Promise<boolean> | null = null;
  private listeners = new Set<() => void>();

  subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };

  snapshot = () => this.state;

  /** Called once at load: is there a cookie that is still good? */
  async start() {
    if (!(await this.refresh())) this.move('signed-out');
  }

  async login(body: Schema<'LoginRequest'>): Promise<TokenSet> {
    const tokens = await this.post<TokenSet>('/api/v1/auth/login', body);
    this.accept(tokens);
    return tokens;
  }

  async logout(everywhere = false) {
    try {
      await this.fetch(new Request(url(everywhere ? '/api/v1/auth/logout-everywhere' : '/api/v1/auth/logout'), { method: 'POST', headers: COOKIE_SESSION }));
    } finally {
      this.drop();
    }
  }

  async stepUp(body: Schema<'StepUpRequest'>) {
    this.accept(await this.post<TokenSet>('/api/v1/auth/step-up', body));
  }

  /** Sends a request with the token, refreshing it and asking for a step-up where the server wants one. */
  fetch = async (request: Request): Promise<Response> => {
    if (this.token && Date.now() > this.expiresAt - EARLY_MS) await this.refresh();
    let response = await this.send(request);
    if (response.status === 401 && this.token && (await this.refresh())) {
      await discard(response);
      response = await this.send(request);
    }
    if (response.status === 401 && this.token) this.drop();
    if (response.status === 403 && this.askStepUp && (await wantsStepUp(response))) {
      if (await this.confirmIdentity()) {
        await discard(response);
        response = await this.send(request);
      }
    }
    return response;
  };

  /** Exchanges the cookie for a new access token; many callers share one exchange. */
  refresh(): Promise<boolean> {
    this.refreshing ??= this.exchange().finally(() => {
      this.refreshing = null;
    });
    return this.refreshing;
  }

  private async exchange(): Promise<boolean> {
    // Each refresh token works once, so that tabs sharing the cookie must take turns.
    const run = async () => {
      const response = await fetch(url('/api/v1/auth/refresh'), {
        method: 'POST',
        headers: { ...COOKIE_SESSION, 'Content-Type': 'application/json' },
        body: '{}',
        credentials: 'same-origin',
      });
      if (response.ok) {
        this.accept((await response.json()) as TokenSet);
        return true;
      }
      await discard(response);
      if (response.status === 401 || response.status === 400) this.drop();
      return false;
    };
    try {
      return navigator.locks ? await navigator.locks.request(REFRESH_LOCK, run) : await run();
    } catch {
      return false;
    }
  }

  private confirmIdentity(): Promise<boolean> {
    this.steppingUp ??= (this.askStepUp?.() ?? Promise.resolve(false)).finally(() => {
      this.steppingUp = null;
    });
    return this.steppingUp;
  }

  private send(request: Request): Promise<Response> {
    // A clone each time, because a body can be read only once and a request may be repeated.
    const copy = new Request(request.clone(), { credentials: 'same-origin' });
    if (this.token) copy.headers.set('Authorization', `Bearer ${this.token}`);
    return fetch(copy).catch((error: unknown) => {
      if (request.signal.aborted) throw error;
      throw unreachable();
    });
  }

  private async post<T>(path: string, body: unknown): Promise<T> {
    const request = new Request(url(path), {
      method: 'POST',
      headers: { ...COOKIE_SESSION, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    const response = await this.send(request);
    const answer: unknown = await response.json().catch(() => null);
    if (!response.ok) throw problemOf(answer, response);
    return answer as T;
  }

  private accept(tokens: TokenSet) {
    this.token = tokens.access_token;
    this.expiresAt = Date.now() + tokens.expires_in * 1000;
    this.move('signed-in');
  }

  private drop() {
    this.token = null;
    this.move('signed-out');
  }

  private move(next: SessionState) {
    if (this.state === next) return;
    this.state = next;
    this.listeners.forEach((listener) => listener());
  }
}

// An answer that nobody reads keeps its connection busy.
const discard = (response: Response) => response.body?.cancel();

const url = (path: string) => new URL(path, location.origin);

async function wantsStepUp(response: Response): Promise<boolean> {
  const body: unknown = await response.clone().json().catch(() => null);
  return typeof body === 'object' && body !== null && 'type' in body && String(body.type).endsWith('/step-up-required');
}
