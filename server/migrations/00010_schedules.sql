-- Schedules, when they are due, what they fired, what they missed, and blackouts.

-- +goose Up

CREATE TABLE schedules (
    tenant_id            uuid        NOT NULL REFERENCES tenants (id), -- the provider's may reach every tenant
    id                   uuid        NOT NULL,
    name                 text        COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    name_key             text        COLLATE "C" NOT NULL, -- lower case, made in Go: it carries the sorting
    enabled              boolean     NOT NULL,
    kind                 text        COLLATE "C" NOT NULL,
    payload              jsonb       NOT NULL,
    task_expires_seconds integer,
    targets              jsonb       NOT NULL,
    recurrence           jsonb       NOT NULL,
    zone_mode            text        COLLATE "C" NOT NULL, -- device, site, tenant, or the name of a zone
    maintenance_window   jsonb,
    catch_up             jsonb       NOT NULL,
    jitter_seconds       integer     NOT NULL DEFAULT 0 CHECK (jitter_seconds BETWEEN 0 AND 86400),
    approval_id          uuid,
    approved_devices     integer     NOT NULL DEFAULT 0, -- how many devices a second person has agreed to
    created_by           uuid,
    created_by_name      text        NOT NULL,
    version              bigint      NOT NULL DEFAULT 1,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    deleted_at           timestamptz,
    zones_checked_at     timestamptz NOT NULL DEFAULT now(), -- when its targets' zones were last looked at
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, approval_id) REFERENCES approvals (tenant_id, id)
);
CREATE INDEX schedules_name ON schedules (tenant_id, name_key, id) WHERE deleted_at IS NULL;
CREATE INDEX schedules_staff_name ON schedules (name_key, id) WHERE deleted_at IS NULL;
CREATE INDEX schedules_id ON schedules (id);
CREATE INDEX schedules_approval ON schedules (tenant_id, approval_id) WHERE approval_id IS NOT NULL;
CREATE INDEX schedules_zones ON schedules (zones_checked_at) WHERE enabled AND deleted_at IS NULL;
SELECT reeve_protect('schedules');
REVOKE DELETE ON schedules FROM reeve_tenant, reeve_granted, reeve_staff;

-- One row per zone that a schedule's devices are in: when to look at it again, and what is decided.
CREATE TABLE schedule_due (
    tenant_id   uuid        NOT NULL,
    schedule_id uuid        NOT NULL,
    zone        text        COLLATE "C" NOT NULL,
    wake_at     timestamptz, -- null: nothing more to come, or switched off
    through     timestamptz NOT NULL, -- every run up to this instant is decided
    waiting     jsonb, -- but for the one that waits for its window
    PRIMARY KEY (tenant_id, schedule_id, zone),
    FOREIGN KEY (tenant_id, schedule_id) REFERENCES schedules (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 85);
CREATE INDEX schedule_due_wake ON schedule_due (wake_at) WHERE wake_at IS NOT NULL;
SELECT reeve_protect('schedule_due');

-- What fired. A run is a row before it becomes tasks, so that neither a crash nor a second replica
-- loses or doubles it.
CREATE TABLE schedule_runs (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    schedule_id uuid        NOT NULL,
    zone        text        COLLATE "C" NOT NULL,
    key         text        COLLATE "C" NOT NULL, -- nominal time and fold, or the instant
    nominal     text        COLLATE "C" NOT NULL,
    fold        smallint    NOT NULL,
    at          timestamptz NOT NULL,
    fired_at    timestamptz NOT NULL DEFAULT now(),
    catch_up    boolean     NOT NULL,
    expires_at  timestamptz,
    state       text        COLLATE "C" NOT NULL DEFAULT 'fired' CHECK (state IN ('fired', 'done', 'failed')),
    reason      text        NOT NULL DEFAULT '',
    attempts    smallint    NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL DEFAULT now(),
    job_id      uuid,
    devices     integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, schedule_id) REFERENCES schedules (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX schedule_runs_key ON schedule_runs (tenant_id, schedule_id, zone, key);
CREATE INDEX schedule_runs_list ON schedule_runs (schedule_id, id);
CREATE INDEX schedule_runs_open ON schedule_runs (next_try_at) WHERE state = 'fired';
CREATE INDEX schedule_runs_job ON schedule_runs (job_id) WHERE job_id IS NOT NULL;
SELECT reeve_protect('schedule_runs');

-- One row per device and occurrence: whatever zone the device moves to, it runs once.
CREATE TABLE schedule_occurrences (
    tenant_id   uuid        NOT NULL, -- of the device
    schedule_id uuid        NOT NULL,
    device_id   uuid        NOT NULL,
    key         text        COLLATE "C" NOT NULL,
    run_id      uuid        NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, schedule_id, device_id, key),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX schedule_occurrences_device ON schedule_occurrences (tenant_id, device_id);
CREATE INDEX schedule_occurrences_run ON schedule_occurrences (run_id);
SELECT reeve_protect('schedule_occurrences');

-- Runs that did not happen, and why.
CREATE TABLE missed_runs (
    tenant_id    uuid        NOT NULL REFERENCES tenants (id), -- the device's, or the schedule's when all devices missed it
    id           uuid        NOT NULL,
    schedule_id  uuid        NOT NULL,
    device_id    uuid,
    zone         text        COLLATE "C" NOT NULL,
    key          text        COLLATE "C" NOT NULL,
    nominal      text        COLLATE "C" NOT NULL,
    at           timestamptz NOT NULL,
    reason       text        COLLATE "C" NOT NULL CHECK (reason IN ('offline', 'server', 'blackout', 'queue', 'window')),
    noted_at     timestamptz NOT NULL DEFAULT now(),
    caught_up_at timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX missed_runs_key ON missed_runs (tenant_id, schedule_id, zone, key, device_id) NULLS NOT DISTINCT;
CREATE INDEX missed_runs_device ON missed_runs (tenant_id, device_id) WHERE device_id IS NOT NULL;
CREATE INDEX missed_runs_schedule ON missed_runs (schedule_id, id);
CREATE INDEX missed_runs_id ON missed_runs (id);
SELECT reeve_protect('missed_runs');

CREATE TABLE blackouts (
    tenant_id       uuid        NOT NULL REFERENCES tenants (id), -- the provider's hold for every tenant
    id              uuid        NOT NULL,
    name            text        COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    spec            jsonb       NOT NULL,
    version         bigint      NOT NULL DEFAULT 1,
    created_by_name text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX blackouts_id ON blackouts (id);
SELECT reeve_protect('blackouts', true);
