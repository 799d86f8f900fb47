import type { Problem } from './types';
import { t } from '../messages/t';

/** What the API answered instead of a result. */
export class ProblemError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail || problem.title);
    this.name = 'ProblemError';
    this.problem = problem;
  }

  get status() {
    return this.problem.status;
  }

  /** Tells problems apart by the end of their type, e.g. is('otp-required'). */
  is(kind: string) {
    return this.problem.type.endsWith(`/${kind}`);
  }
}

function looksLikeProblem(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'title' in body && 'status' in body && 'type' in body;
}

/** The server did not answer at all. */
export const unreachable = () =>
  new ProblemError({ type: '/problems/unreachable', title: t('errors.unreachable'), status: 0, detail: t('errors.unreachableHint') });

/** Makes a problem of whatever was thrown or answered, so that every page shows errors in one way. */
export function toProblem(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  if (looksLikeProblem(error)) return error;
  const detail = error instanceof Error ? error.message : undefined;
  return { type: '/problems/unexpected', title: t('errors.unexpected'), status: 0, ...(detail ? { detail } : {}) };
}

/** Turns an answer that is no success into a ProblemError. */
export function problemOf(body: unknown, response: Response): ProblemError {
  if (looksLikeProblem(body)) return new ProblemError(body);
  const requestId = response.headers.get('X-Request-Id');
  return new ProblemError({
    type: '/problems/unexpected',
    title: response.statusText || t('errors.status', { status: String(response.status) }),
    status: response.status,
    ...(requestId ? { request_id: requestId } : {}),
  });
}
