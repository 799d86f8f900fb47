-- Tenants (the provider is one of them), their settings, and the keys that make repeated requests safe.

-- +goose Up

CREATE TABLE tenants (
    id          uuid        PRIMARY KEY,
    name        text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 200),
    slug        text        COLLATE "C" NOT NULL CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    state       text        NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'archived')),
    zone        text        NOT NULL DEFAULT 'UTC',
    locale      text        NOT NULL DEFAULT 'en',
    version     bigint      NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    archived_at timestamptz,
    CONSTRAINT tenants_provider_active CHECK (id <> '01900000-0000-7000-8000-000000000001' OR state = 'active')
);
-- Only staff create tenants, so that a conflict here tells nobody anything new.
CREATE UNIQUE INDEX tenants_slug ON tenants (slug);
CREATE INDEX tenants_name ON tenants (name COLLATE "C", id);
-- Every tenant may read the provider's row: its name, zone and locale are what a tenant falls back to.
SELECT reeve_protect('tenants', true, 'id');
REVOKE INSERT, DELETE ON tenants FROM reeve_tenant, reeve_granted;
REVOKE DELETE ON tenants FROM reeve_staff;

INSERT INTO tenants (id, name, slug) VALUES (reeve_provider(), 'Provider', 'provider');

CREATE TABLE settings (
    tenant_id  uuid        NOT NULL REFERENCES tenants (id),
    domain     text        COLLATE "C" NOT NULL CHECK (char_length(domain) BETWEEN 1 AND 100),
    spec       jsonb       NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    version    bigint      NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now(),
    updated_by uuid,
    PRIMARY KEY (tenant_id, domain)
);
SELECT reeve_protect('settings', true);

-- A key belongs to its actor, not to a tenant: staff repeat a request whatever tenant it was narrowed to.
CREATE TABLE idempotency_keys (
    actor_id   uuid        NOT NULL,
    operation  text        COLLATE "C" NOT NULL,
    key        text        COLLATE "C" NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    body_hash  bytea       NOT NULL,
    result     bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor_id, operation, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idempotency_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON idempotency_keys TO reeve_owner USING (true) WITH CHECK (true);
CREATE POLICY actor ON idempotency_keys TO reeve_tenant, reeve_granted, reeve_staff
    USING (actor_id = nullif(current_setting('reeve.actor', true), '')::uuid)
    WITH CHECK (actor_id = nullif(current_setting('reeve.actor', true), '')::uuid);
CREATE POLICY system ON idempotency_keys TO reeve_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON idempotency_keys TO reeve_tenant, reeve_granted, reeve_staff;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO reeve_system;
