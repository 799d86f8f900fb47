import type { Schema, Script } from '../../api/types';

export type Work = { kind: Schema<'TaskKind'>; payload: Schema<'ScriptPayload'> };

export type Source = 'library' | 'written' | 'inventory';

export const sourceOf = (work: Work): Source => (work.kind === 'inventory.collect' ? 'inventory' : work.payload.script_id !== undefined ? 'library' : 'written');

export function newWork(source: Source): Work {
  switch (source) {
    case 'inventory':
      return { kind: 'inventory.collect', payload: {} };
    case 'library':
      return { kind: 'script.run', payload: { script_id: '' } };
    case 'written':
      return { kind: 'script.run', payload: { interpreter: 'bash', script: '', timeout_seconds: 300, run_as: 'system' } };
  }
}

/** Whether there is something to run; the parameters' own rules are the server's, but for those left empty. */
export function isComplete(work: Work, script?: Script): boolean {
  switch (sourceOf(work)) {
    case 'inventory':
      return true;
    case 'written':
      return Boolean(work.payload.script?.trim());
    case 'library':
      return Boolean(work.payload.script_id) && (script?.parameters ?? []).every((each) => !each.required || Boolean(work.payload.parameters?.[each.name] ?? each.default));
  }
}

/** What is sent: without the empty parameters, so that their defaults hold. */
export function payloadOf(work: Work): Record<string, unknown> {
  const { parameters, ...rest } = work.payload;
  const given = Object.entries(parameters ?? {}).filter(([, value]) => value !== '');
  return { ...rest, ...(given.length > 0 ? { parameters: Object.fromEntries(given) } : {}) };
}
