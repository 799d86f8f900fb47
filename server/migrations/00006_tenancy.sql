-- Sites, acts that wait for a second person, and fields of the MSP's own.

-- +goose Up

ALTER TABLE tenants
    ADD COLUMN notes              text    NOT NULL DEFAULT '' CHECK (char_length(notes) <= 4000),
    ADD COLUMN enrolment_approval boolean NOT NULL DEFAULT false;
-- People expect "acme" beside "Acme", not after "Zeta".
DROP INDEX tenants_name;
CREATE INDEX tenants_name ON tenants ((lower(name) COLLATE "C"), id);

CREATE TABLE sites (
    tenant_id   uuid        NOT NULL REFERENCES tenants (id),
    id          uuid        NOT NULL,
    name        text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    zone        text        CHECK (zone <> ''), -- null: the tenant's
    address     text        NOT NULL DEFAULT '' CHECK (char_length(address) <= 500),
    notes       text        NOT NULL DEFAULT '' CHECK (char_length(notes) <= 4000),
    version     bigint      NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz,
    PRIMARY KEY (tenant_id, id)
);
-- An archived site gives its name free.
CREATE UNIQUE INDEX sites_tenant_name ON sites (tenant_id, lower(name)) WHERE archived_at IS NULL;
CREATE INDEX sites_name ON sites ((lower(name) COLLATE "C"), id);
CREATE INDEX sites_id ON sites (id);
SELECT reeve_protect('sites');
-- A site is never deleted: its devices' history names it.
REVOKE DELETE ON sites FROM reeve_tenant, reeve_granted, reeve_staff;

CREATE TABLE approvals (
    tenant_id         uuid        NOT NULL REFERENCES tenants (id),
    id                uuid        NOT NULL,
    kind              text        COLLATE "C" NOT NULL CHECK (kind IN ('blast_radius', 'change', 'deletion', 'restore')),
    summary           text        NOT NULL CHECK (char_length(summary) BETWEEN 1 AND 500),
    subject_type      text        COLLATE "C" NOT NULL CHECK (char_length(subject_type) BETWEEN 1 AND 60),
    subject_id        uuid        NOT NULL,
    state             text        COLLATE "C" NOT NULL DEFAULT 'pending'
                                  CHECK (state IN ('pending', 'approved', 'rejected', 'withdrawn', 'expired')),
    requested_by      uuid        NOT NULL, -- a person; the maker of the key when an API key asked
    requested_by_name text        NOT NULL,
    requested_at      timestamptz NOT NULL DEFAULT now(),
    request_reason    text        NOT NULL DEFAULT '',
    decided_by        uuid,
    decided_by_name   text,
    decided_at        timestamptz,
    decision_reason   text,
    expires_at        timestamptz NOT NULL,
    detail            jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object'),
    PRIMARY KEY (tenant_id, id),
    CONSTRAINT approvals_decided CHECK ((state = 'pending') = (decided_at IS NULL)),
    -- The rule itself, beneath every program: nobody decides what they asked for.
    CONSTRAINT approvals_second_person CHECK (state NOT IN ('approved', 'rejected') OR decided_by <> requested_by)
);
-- One open question about a thing at a time.
CREATE UNIQUE INDEX approvals_open ON approvals (tenant_id, subject_type, subject_id) WHERE state = 'pending';
CREATE INDEX approvals_newest ON approvals (tenant_id, requested_at DESC, id DESC);
CREATE INDEX approvals_newest_all ON approvals (requested_at DESC, id DESC);
CREATE INDEX approvals_due ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_id ON approvals (id);
SELECT reeve_protect('approvals');
REVOKE DELETE ON approvals FROM reeve_tenant, reeve_granted, reeve_staff;

CREATE TABLE custom_field_definitions (
    tenant_id   uuid        NOT NULL REFERENCES tenants (id), -- the provider's hold for every tenant
    id          uuid        NOT NULL,
    key         text        COLLATE "C" NOT NULL CHECK (key ~ '^[a-z][a-z0-9_]{0,59}$'),
    label       text        NOT NULL CHECK (char_length(label) BETWEEN 1 AND 120),
    applies_to  text        COLLATE "C" NOT NULL CHECK (applies_to IN ('tenant', 'site', 'device')),
    type        text        COLLATE "C" NOT NULL
                            CHECK (type IN ('text', 'number', 'boolean', 'date', 'choice', 'url', 'secret')),
    options     jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(options) = 'array'),
    description text        NOT NULL DEFAULT '',
    version     bigint      NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX custom_field_definitions_key ON custom_field_definitions (tenant_id, applies_to, key);
CREATE INDEX custom_field_definitions_all ON custom_field_definitions (applies_to, key, id);
CREATE INDEX custom_field_definitions_id ON custom_field_definitions (id);
SELECT reeve_protect('custom_field_definitions', true);

-- One row per value, in a form that a B-tree finds under row-level security: value is the canonical
-- text of every type but secret (numbers also as number, so that they compare as numbers).
CREATE TABLE custom_field_values (
    tenant_id       uuid        NOT NULL REFERENCES tenants (id),
    object_type     text        COLLATE "C" NOT NULL CHECK (object_type IN ('tenant', 'site', 'device')),
    object_id       uuid        NOT NULL,
    field_id        uuid        NOT NULL,
    field_tenant_id uuid        NOT NULL,
    key             text        COLLATE "C" NOT NULL,
    value           text        COLLATE "C" CHECK (octet_length(value) <= 2000), -- what a B-tree takes
    number          numeric,
    sealed          bytea,
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, object_type, object_id, field_id),
    FOREIGN KEY (field_tenant_id, field_id) REFERENCES custom_field_definitions (tenant_id, id),
    -- A tenant's value belongs to a field of its own or of the provider, never of a neighbour.
    CONSTRAINT custom_field_values_field CHECK (field_tenant_id IN (tenant_id, '01900000-0000-7000-8000-000000000001')),
    CONSTRAINT custom_field_values_one CHECK ((value IS NULL) <> (sealed IS NULL))
);
CREATE INDEX custom_field_values_definition ON custom_field_values (field_tenant_id, field_id);
CREATE INDEX custom_field_values_find ON custom_field_values (tenant_id, object_type, key, value, object_id);
CREATE INDEX custom_field_values_number ON custom_field_values (tenant_id, object_type, key, number, object_id) WHERE number IS NOT NULL;
CREATE INDEX custom_field_values_find_all ON custom_field_values (object_type, key, value, object_id);
SELECT reeve_protect('custom_field_values');
