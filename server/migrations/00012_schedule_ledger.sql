-- Who answers for a schedule, windows of several tenants in one job, and misses that are only counted.

-- +goose Up

-- Who last said what the schedule does and where: never the second person who approves its runs.
ALTER TABLE schedules ADD COLUMN answers uuid;
UPDATE schedules SET answers = created_by;

-- How many runs before this one were missed with it and are not listed one by one.
ALTER TABLE missed_runs ADD COLUMN earlier bigint NOT NULL DEFAULT 0;

-- For the sweep that forgets old runs.
CREATE INDEX schedule_runs_id ON schedule_runs (id);

-- Times in which tasks of some tenants may start, instead of open_ranges: those with blackouts of their own.
ALTER TABLE jobs ADD COLUMN tenant_ranges jsonb;
