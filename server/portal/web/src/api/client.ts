import createClient from 'openapi-fetch';
import { problemOf } from './problem';
import type { paths } from './schema.gen';
import { Session } from './session';

export const session = new Session();

/** The typed API: `await ok(api.GET('/api/v1/devices/{id}', { params: { path: { id } }, signal }))`. */
export const api = createClient<paths>({ baseUrl: location.origin, fetch: session.fetch });

// Creating something twice because an answer was lost is worse than an unused header.
api.use({
  onRequest({ request }) {
    if (request.method === 'POST' && !request.headers.has('Idempotency-Key')) {
      request.headers.set('Idempotency-Key', randomKey());
    }
    return request;
  },
});

/** The data of an answer; anything but a success is thrown as a ProblemError. */
export async function ok<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await answer;
  if (!response.ok) throw problemOf(error, response);
  return data as T;
}

// randomUUID exists only in secure contexts; a portal on plain HTTP in a lab has none.
function randomKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
