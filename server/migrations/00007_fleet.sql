-- The fleet: enrolment tokens, devices and their presence, tags, search terms, inventory and timeline.

-- +goose Up

CREATE TABLE enrolment_tokens (
    tenant_id       uuid        NOT NULL REFERENCES tenants (id),
    id              uuid        NOT NULL,
    site_id         uuid        NOT NULL,
    token_hash      bytea       NOT NULL CHECK (octet_length(token_hash) = 32),
    label           text        NOT NULL DEFAULT '' CHECK (char_length(label) <= 120),
    tags            text[]      NOT NULL DEFAULT '{}',
    max_uses        integer     NOT NULL CHECK (max_uses BETWEEN 1 AND 100000),
    uses            integer     NOT NULL DEFAULT 0,
    expires_at      timestamptz NOT NULL,
    revoked_at      timestamptz,
    created_by      uuid        NOT NULL,
    created_by_name text        NOT NULL DEFAULT '',
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, id),
    -- The last line of defence behind the capped UPDATE: over the cap there is an error, never a device.
    CONSTRAINT enrolment_tokens_cap CHECK (uses BETWEEN 0 AND max_uses)
);
CREATE INDEX enrolment_tokens_site ON enrolment_tokens (tenant_id, site_id);
-- Not unique: a unique key must start with tenant_id, and 256 random bits do not collide.
CREATE INDEX enrolment_tokens_hash ON enrolment_tokens (token_hash);
CREATE INDEX enrolment_tokens_staff ON enrolment_tokens (id);
SELECT reeve_protect('enrolment_tokens');

CREATE TABLE devices (
    tenant_id          uuid        NOT NULL REFERENCES tenants (id),
    id                 uuid        NOT NULL,
    site_id            uuid        NOT NULL,
    enrolment_token_id uuid        NOT NULL,
    public_key         bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    state              text        NOT NULL CHECK (state IN ('pending', 'active', 'quarantined', 'retired')),
    state_reason       text        NOT NULL DEFAULT '' CHECK (char_length(state_reason) <= 1000),
    state_changed_at   timestamptz NOT NULL DEFAULT now(),
    name               text        COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    -- The *_key columns are lower case, made in Go: they carry the sorting.
    name_key           text        COLLATE "C" NOT NULL,
    name_chosen        boolean     NOT NULL DEFAULT false,
    hostname           text        COLLATE "C" NOT NULL CHECK (char_length(hostname) BETWEEN 1 AND 255),
    os_family          text        COLLATE "C" NOT NULL CHECK (os_family IN ('linux', 'windows', 'darwin', 'other')),
    os_name            text        COLLATE "C" NOT NULL DEFAULT '',
    os_name_key        text        COLLATE "C" NOT NULL DEFAULT '',
    os_version         text        COLLATE "C" NOT NULL DEFAULT '',
    arch               text        COLLATE "C" NOT NULL DEFAULT '',
    kind               text        COLLATE "C" NOT NULL DEFAULT 'unknown'
                                   CHECK (kind IN ('server', 'workstation', 'laptop', 'virtual', 'container', 'unknown')),
    kind_chosen        boolean     NOT NULL DEFAULT false,
    manufacturer       text        COLLATE "C",
    model              text        COLLATE "C",
    serial             text        COLLATE "C",
    machine_id         text        COLLATE "C",
    zone               text        COLLATE "C",
    agent_version      text        COLLATE "C" NOT NULL DEFAULT '',
    addresses          text[]      NOT NULL DEFAULT '{}',
    logged_in_users    text[]      NOT NULL DEFAULT '{}',
    boot_at            timestamptz,
    simulated          boolean     NOT NULL DEFAULT false,
    notes              text        NOT NULL DEFAULT '' CHECK (char_length(notes) <= 4000),
    version            bigint      NOT NULL DEFAULT 1,
    enrolled_at        timestamptz NOT NULL DEFAULT now(),
    retired_at         timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, id),
    FOREIGN KEY (tenant_id, enrolment_token_id) REFERENCES enrolment_tokens (tenant_id, id),
    CONSTRAINT devices_retired CHECK ((state = 'retired') = (retired_at IS NOT NULL))
);
-- The same key never joins a tenant twice; over all tenants the gateway looks at the index below.
CREATE UNIQUE INDEX devices_key ON devices (tenant_id, public_key);
CREATE INDEX devices_key_any ON devices (public_key);
CREATE INDEX devices_site ON devices (tenant_id, site_id);
CREATE INDEX devices_token ON devices (tenant_id, enrolment_token_id);
CREATE INDEX devices_serial ON devices (tenant_id, serial) WHERE serial IS NOT NULL;
CREATE INDEX devices_name ON devices (tenant_id, name_key, id);
CREATE INDEX devices_enrolled ON devices (tenant_id, enrolled_at, id);
CREATE INDEX devices_os ON devices (tenant_id, os_name_key, id);
-- For staff, who read across tenants.
CREATE INDEX devices_staff ON devices (id);
CREATE INDEX devices_staff_site ON devices (site_id);
CREATE INDEX devices_staff_name ON devices (name_key, id);
CREATE INDEX devices_staff_enrolled ON devices (enrolled_at, id);
CREATE INDEX devices_staff_os ON devices (os_name_key, id);
-- Replicas read what changed since they last looked, in case a message about it was lost.
CREATE INDEX devices_state_changed ON devices (state_changed_at);
SELECT reeve_protect('devices');

-- What every sync touches. Only the key is indexed, so that an update stays on its page (HOT).
CREATE TABLE device_presence (
    tenant_id        uuid        NOT NULL,
    device_id        uuid        NOT NULL,
    last_seen        timestamptz,
    gone             boolean     NOT NULL DEFAULT false, -- it said goodbye
    interval_seconds integer     NOT NULL, -- that it is judged by
    skew_ms          bigint,
    journal_id       text        COLLATE "C" NOT NULL DEFAULT '',
    journal_entry    bigint      NOT NULL DEFAULT 0,
    batch_id         text        COLLATE "C" NOT NULL DEFAULT '',
    sent_at          timestamptz,
    boot_id          text        COLLATE "C" NOT NULL DEFAULT '',
    past_boots       text        COLLATE "C" NOT NULL DEFAULT '', -- separated by spaces, newest first
    stale            integer     NOT NULL DEFAULT 0,
    events_through   bigint      NOT NULL DEFAULT 0,
    sections_digest  text        COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (tenant_id, device_id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
) WITH (fillfactor = 70);
SELECT reeve_protect('device_presence');

-- What a device is told to work by. Apart from presence, so that whoever changes it never waits for a
-- sync, nor a sync for them.
CREATE TABLE device_configs (
    tenant_id        uuid    NOT NULL,
    device_id        uuid    NOT NULL,
    version          text    COLLATE "C" NOT NULL DEFAULT '',
    interval_seconds integer NOT NULL,
    PRIMARY KEY (tenant_id, device_id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
SELECT reeve_protect('device_configs');

CREATE TABLE device_tags (
    tenant_id  uuid        NOT NULL,
    device_id  uuid        NOT NULL,
    tag        text        COLLATE "C" NOT NULL CHECK (char_length(tag) BETWEEN 1 AND 60),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id, tag),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX device_tags_tag ON device_tags (tenant_id, tag, device_id);
CREATE INDEX device_tags_staff ON device_tags (tag, device_id);
SELECT reeve_protect('device_tags');

-- Words and word endings by which a device is found: a substring search becomes a prefix range, which
-- an index can serve under row-level security. See terms.go.
CREATE TABLE device_terms (
    tenant_id uuid NOT NULL,
    device_id uuid NOT NULL,
    term      text COLLATE "C" NOT NULL,
    PRIMARY KEY (tenant_id, device_id, term),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX device_terms_term ON device_terms (tenant_id, term, device_id);
CREATE INDEX device_terms_staff ON device_terms (term, device_id);
SELECT reeve_protect('device_terms');

-- What a filter compares, in lower case, one row per field and value; addresses have several.
CREATE TABLE device_facts (
    tenant_id uuid NOT NULL,
    device_id uuid NOT NULL,
    field     text COLLATE "C" NOT NULL,
    value_key text COLLATE "C" NOT NULL CHECK (char_length(value_key) BETWEEN 1 AND 255),
    PRIMARY KEY (tenant_id, device_id, field, value_key),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX device_facts_value ON device_facts (tenant_id, field, value_key, device_id);
CREATE INDEX device_facts_staff ON device_facts (field, value_key, device_id);
SELECT reeve_protect('device_facts');

CREATE TABLE inventory_sections (
    tenant_id    uuid        NOT NULL,
    device_id    uuid        NOT NULL,
    name         text        COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 60),
    hash         text        COLLATE "C" NOT NULL,
    collected_at timestamptz NOT NULL, -- by the endpoint's clock
    received_at  timestamptz NOT NULL,
    data         jsonb       NOT NULL,
    PRIMARY KEY (tenant_id, device_id, name),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
SELECT reeve_protect('inventory_sections');

CREATE TABLE inventory_changes (
    tenant_id uuid        NOT NULL,
    id        uuid        NOT NULL,
    device_id uuid        NOT NULL,
    section   text        COLLATE "C" NOT NULL,
    at        timestamptz NOT NULL,
    changes   jsonb       NOT NULL,
    truncated boolean     NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX inventory_changes_device ON inventory_changes (tenant_id, device_id, at DESC, id DESC);
CREATE INDEX inventory_changes_at ON inventory_changes (at);
SELECT reeve_protect('inventory_changes');

CREATE TABLE device_software (
    tenant_id    uuid        NOT NULL,
    device_id    uuid        NOT NULL,
    name_key     text        COLLATE "C" NOT NULL,
    ordinal      integer     NOT NULL, -- among equal names of one device
    name         text        COLLATE "C" NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    version      text        COLLATE "C" NOT NULL DEFAULT '',
    publisher    text,
    source       text        COLLATE "C" NOT NULL DEFAULT '',
    installed_at timestamptz,
    PRIMARY KEY (tenant_id, device_id, name_key, ordinal),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX device_software_name ON device_software (tenant_id, name_key, device_id);
CREATE INDEX device_software_staff ON device_software (name_key, device_id);
SELECT reeve_protect('device_software');

CREATE TABLE saved_filters (
    tenant_id  uuid        NOT NULL REFERENCES tenants (id),
    id         uuid        NOT NULL,
    owner_id   uuid        NOT NULL,
    name       text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    shared     boolean     NOT NULL DEFAULT false,
    filter     jsonb       NOT NULL,
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX saved_filters_name ON saved_filters (tenant_id, owner_id, name);
SELECT reeve_protect('saved_filters');

-- Partitioned by the server's time. Partitions are made months ahead by a sweep, so that the default
-- one, which is only there to lose nothing, stays empty.
CREATE TABLE device_timeline (
    tenant_id uuid        NOT NULL,
    device_id uuid        NOT NULL,
    at        timestamptz NOT NULL,
    id        uuid        NOT NULL,
    kind      text        COLLATE "C" NOT NULL CHECK (char_length(kind) BETWEEN 1 AND 60),
    title     text        NOT NULL CHECK (char_length(title) BETWEEN 1 AND 300),
    actor     text,
    detail    jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object'),
    PRIMARY KEY (tenant_id, device_id, at, id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
) PARTITION BY RANGE (at);
SELECT reeve_protect('device_timeline');
CREATE TABLE device_timeline_default PARTITION OF device_timeline DEFAULT;
-- +goose StatementBegin
DO $$
DECLARE
    month timestamptz;
BEGIN
    FOR month IN SELECT generate_series(date_trunc('month', now(), 'UTC') - interval '1 month',
                                        date_trunc('month', now(), 'UTC') + interval '3 months', interval '1 month') LOOP
        PERFORM reeve_partition('device_timeline', month, month + interval '1 month');
    END LOOP;
END
$$;
-- +goose StatementEnd
