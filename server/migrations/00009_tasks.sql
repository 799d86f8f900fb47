-- The script library, jobs, and the queue of tasks with their output.

-- +goose Up

CREATE TABLE scripts (
    tenant_id       uuid        NOT NULL REFERENCES tenants (id), -- the provider's serve every tenant
    id              uuid        NOT NULL,
    name            text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    description     text        NOT NULL DEFAULT '' CHECK (char_length(description) <= 4000),
    platforms       text[]      NOT NULL DEFAULT '{}', -- families of operating systems; none means any
    number          integer     NOT NULL CHECK (number > 0), -- the current version of the text
    version         bigint      NOT NULL DEFAULT 1,
    created_by_name text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    archived_at     timestamptz,
    PRIMARY KEY (tenant_id, id)
);
-- An archived script gives its name free.
CREATE UNIQUE INDEX scripts_tenant_name ON scripts (tenant_id, lower(name)) WHERE archived_at IS NULL;
CREATE INDEX scripts_name ON scripts ((lower(name) COLLATE "C"), id);
CREATE INDEX scripts_id ON scripts (id);
SELECT reeve_protect('scripts', true);
REVOKE DELETE ON scripts FROM reeve_tenant, reeve_granted, reeve_staff;

-- The texts: what ran somewhere once stays readable.
CREATE TABLE script_versions (
    tenant_id       uuid        NOT NULL,
    script_id       uuid        NOT NULL,
    number          integer     NOT NULL,
    interpreter     text        COLLATE "C" NOT NULL,
    body            text        NOT NULL CHECK (octet_length(body) <= 262144),
    parameters      jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(parameters) = 'array'),
    timeout_seconds integer     NOT NULL CHECK (timeout_seconds BETWEEN 1 AND 86400),
    run_as          text        COLLATE "C" NOT NULL CHECK (run_as IN ('system', 'logged_in_user')),
    note            text        NOT NULL DEFAULT '' CHECK (char_length(note) <= 500),
    created_by_name text        NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, script_id, number),
    FOREIGN KEY (tenant_id, script_id) REFERENCES scripts (tenant_id, id)
);
CREATE INDEX script_versions_script ON script_versions (script_id, number DESC);
SELECT reeve_protect('script_versions', true);
SELECT reeve_append_only('script_versions');

CREATE TABLE jobs (
    tenant_id            uuid        NOT NULL REFERENCES tenants (id), -- the provider's when it reaches several tenants
    id                   uuid        NOT NULL,
    name                 text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    kind                 text        COLLATE "C" NOT NULL,
    state                text        COLLATE "C" NOT NULL CHECK (state IN
                                     ('waiting_approval', 'canary', 'running', 'finished', 'cancelled', 'rejected', 'stopped')),
    state_reason         text        NOT NULL DEFAULT '',
    targets              jsonb       NOT NULL, -- as somebody asked; the tasks say what it came to
    payload              jsonb       NOT NULL, -- as it is shown
    body                 bytea       NOT NULL, -- as it is signed: the end of every task's envelope
    run_as               text        COLLATE "C" NOT NULL CHECK (run_as IN ('system', 'logged_in_user')),
    platforms            text[]      NOT NULL DEFAULT '{}',
    origin               text        COLLATE "C" NOT NULL CHECK (origin IN ('manual', 'schedule', 'retry', 'inventory')),
    schedule_id          uuid,
    retry_of             uuid, -- not a reference: a retry may reach less, and so belong to another tenant
    approval_id          uuid,
    tenant_ids           uuid[]      NOT NULL, -- that it reaches
    tasks_total          integer     NOT NULL CHECK (tasks_total >= 0),
    weight               smallint    NOT NULL, -- its order of magnitude: small jobs go first
    stop_failure_percent integer     NOT NULL DEFAULT 0,
    run_seconds          integer     NOT NULL, -- how long one task may run
    jitter_seconds       integer     NOT NULL DEFAULT 0, -- over which its devices start, each at its own place
    open_ranges          tstzmultirange, -- times in which tasks may start; null: any
    expires_seconds      integer     NOT NULL,
    created_by           uuid,
    created_by_name      text        NOT NULL,
    created_at           timestamptz NOT NULL DEFAULT now(),
    not_before           timestamptz NOT NULL,
    expires_at           timestamptz NOT NULL,
    released_at          timestamptz, -- when its first tasks were made
    checked_at           timestamptz NOT NULL DEFAULT now(), -- when a sweep looked at it
    finished_at          timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, approval_id) REFERENCES approvals (tenant_id, id)
);
CREATE INDEX jobs_id ON jobs (id);
CREATE INDEX jobs_approval ON jobs (tenant_id, approval_id) WHERE approval_id IS NOT NULL;
CREATE INDEX jobs_schedule ON jobs (schedule_id, id) WHERE schedule_id IS NOT NULL;
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_open ON jobs (checked_at) WHERE finished_at IS NULL AND state <> 'waiting_approval';
SELECT reeve_protect('jobs');
-- A technician of several tenants sees the jobs that reach no others, though they are the provider's.
CREATE POLICY reached ON jobs FOR SELECT TO reeve_granted USING (
    tenant_id = '01900000-0000-7000-8000-000000000001'::uuid AND cardinality(tenant_ids) > 0
    AND tenant_ids <@ ((SELECT nullif(current_setting('reeve.tenants', true), '')::uuid[])::uuid[]));
REVOKE DELETE ON jobs FROM reeve_tenant, reeve_granted, reeve_staff;

-- Devices whose tasks are not made yet: the job waits for a second person, or for its canaries.
CREATE TABLE job_waves (
    tenant_id         uuid     NOT NULL,
    job_id            uuid     NOT NULL,
    wave              smallint NOT NULL,
    device_ids        uuid[]   NOT NULL,
    device_tenant_ids uuid[]   NOT NULL,
    PRIMARY KEY (tenant_id, job_id, wave),
    FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, id) ON DELETE CASCADE
);
SELECT reeve_protect('job_waves');

CREATE TABLE tasks (
    tenant_id            uuid        NOT NULL, -- the device refers to its tenant
    id                   uuid        NOT NULL,
    job_id               uuid        NOT NULL,
    job_tenant_id        uuid        NOT NULL,
    device_id            uuid        NOT NULL,
    kind                 text        COLLATE "C" NOT NULL,
    state                text        COLLATE "C" NOT NULL CHECK (state IN ('queued', 'leased', 'running', 'succeeded', 'failed',
                                     'timed_out', 'cancelling', 'cancelled', 'expired', 'skipped', 'parked')),
    reason               text        NOT NULL DEFAULT '' CHECK (char_length(reason) <= 2000),
    weight               smallint    NOT NULL,
    -- What was signed is head followed by the job's body and a closing brace.
    head                 bytea       NOT NULL,
    kid                  text        COLLATE "C" NOT NULL,
    signature            bytea       NOT NULL,
    not_before           timestamptz NOT NULL,
    expires_at           timestamptz NOT NULL,
    open_ranges          tstzmultirange, -- of the job
    after_task_id        uuid,
    attempts             integer     NOT NULL DEFAULT 0,
    created_at           timestamptz NOT NULL DEFAULT now(),
    leased_at            timestamptz,
    lease_until          timestamptz, -- always on the database's clock
    started_at           timestamptz,
    finished_at          timestamptz,
    endpoint_started_at  timestamptz, -- the endpoint's claim
    endpoint_finished_at timestamptz,
    exit_code            bigint, -- Windows has codes beyond 31 bits
    late                 boolean     NOT NULL DEFAULT false,
    result               json, -- not jsonb: an endpoint chooses it, and json takes whatever is well-formed
    result_update        text        COLLATE "C", -- the update that brought the result, so that it counts once
    stdout_bytes         bigint      NOT NULL DEFAULT 0, -- stored, not sent
    stderr_bytes         bigint      NOT NULL DEFAULT 0,
    stdout_truncated     boolean     NOT NULL DEFAULT false,
    stderr_truncated     boolean     NOT NULL DEFAULT false,
    gaps                 smallint    NOT NULL DEFAULT 0, -- updates put off because output before theirs was missing
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT tasks_job_tenant CHECK (job_tenant_id IN (tenant_id, '01900000-0000-7000-8000-000000000001')),
    FOREIGN KEY (job_tenant_id, job_id) REFERENCES jobs (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE,
    FOREIGN KEY (tenant_id, after_task_id) REFERENCES tasks (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 85);
CREATE INDEX tasks_id ON tasks (id);
CREATE INDEX tasks_job ON tasks (job_id, id);
CREATE INDEX tasks_device ON tasks (device_id, id);
-- What a sync looks at: the few tasks of a device that are not over.
CREATE INDEX tasks_open ON tasks (device_id, id) WHERE state IN ('queued', 'leased', 'running', 'cancelling');
CREATE INDEX tasks_lease ON tasks (lease_until) WHERE state IN ('leased', 'running', 'cancelling');
CREATE INDEX tasks_after ON tasks (tenant_id, after_task_id) WHERE after_task_id IS NOT NULL;
SELECT reeve_protect('tasks');
REVOKE DELETE ON tasks FROM reeve_tenant, reeve_granted, reeve_staff;

-- Output in blocks of fixed size, so that appending to a long one does not rewrite it.
CREATE TABLE task_outputs (
    tenant_id uuid    NOT NULL,
    task_id   uuid    NOT NULL,
    stream    text    COLLATE "C" NOT NULL CHECK (stream IN ('stdout', 'stderr')),
    block     integer NOT NULL CHECK (block BETWEEN 0 AND 31),
    data      bytea   NOT NULL CHECK (octet_length(data) BETWEEN 1 AND 32768),
    PRIMARY KEY (tenant_id, task_id, stream, block),
    FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id) ON DELETE CASCADE
);
SELECT reeve_protect('task_outputs');

-- Results for tasks this database does not know, as after restoring an older state of it.
CREATE TABLE orphan_results (
    tenant_id   uuid        NOT NULL,
    device_id   uuid        NOT NULL,
    task_id     uuid        NOT NULL,
    update_id   text        COLLATE "C" NOT NULL CHECK (char_length(update_id) BETWEEN 1 AND 64),
    state       text        COLLATE "C" NOT NULL,
    reason      text        NOT NULL,
    exit_code   bigint,
    stdout      bytea       NOT NULL,
    stderr      bytea       NOT NULL,
    result      json,
    at          timestamptz NOT NULL, -- the endpoint's claim
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id, task_id, update_id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX orphan_results_received ON orphan_results (received_at);
SELECT reeve_protect('orphan_results');
