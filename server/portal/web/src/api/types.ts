import type { components } from './schema.gen';

/** A model of the contract by its name. */
export type Schema<N extends keyof components['schemas']> = components['schemas'][N];

export type Problem = Schema<'Problem'>;
export type Me = Schema<'Me'>;
export type Device = Schema<'Device'>;
export type DeviceFilter = Schema<'DeviceFilter'>;
export type FilterTerm = Schema<'FilterTerm'>;
export type Targets = Schema<'Targets'>;
export type Tenant = Schema<'Tenant'>;
export type Site = Schema<'Site'>;
export type Job = Schema<'Job'>;
export type Task = Schema<'Task'>;
export type TaskState = Schema<'TaskState'>;
export type Script = Schema<'Script'>;
export type ScriptParameter = Schema<'ScriptParameter'>;
export type Schedule = Schema<'Schedule'>;
export type Recurrence = Schema<'Recurrence'>;

/** A page of a list, as every list operation answers. */
export type Page<T> = { items: T[]; next_cursor?: string | null; total?: number | null };
