-- The audit log: one hash chain per tenant, append-only for everyone.

-- +goose Up

CREATE TABLE audit_entries (
    tenant_id       uuid        NOT NULL REFERENCES tenants (id),
    number          bigint      NOT NULL CHECK (number > 0), -- place in the tenant's chain, without gaps
    id              uuid        NOT NULL,
    at              timestamptz NOT NULL,
    actor_kind      text        NOT NULL CHECK (actor_kind IN ('user', 'api_key', 'device', 'system')),
    actor_id        uuid,
    actor_tenant_id uuid,
    actor_name      text        COLLATE "C" NOT NULL,
    session_id      uuid,
    address         text        NOT NULL,
    request_id      text        NOT NULL,
    emergency       text        NOT NULL,
    action          text        COLLATE "C" NOT NULL,
    object_type     text        COLLATE "C" NOT NULL,
    object_id       text        COLLATE "C" NOT NULL,
    object_name     text        NOT NULL,
    -- json, not jsonb: the hash covers the very bytes that were written.
    before          json,
    after           json,
    detail          json        NOT NULL,
    previous        bytea       NOT NULL,
    hash            bytea       NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (tenant_id, number)
);
CREATE INDEX audit_entries_tenant_at ON audit_entries (tenant_id, at, id);
CREATE INDEX audit_entries_at ON audit_entries (at, id);
CREATE INDEX audit_entries_actor ON audit_entries (actor_id, at, id);
CREATE INDEX audit_entries_actor_name ON audit_entries (actor_name, at, id);
CREATE INDEX audit_entries_object ON audit_entries (object_id, at, id);
SELECT reeve_protect('audit_entries');
SELECT reeve_append_only('audit_entries');

-- The end of each chain. It is locked while an entry is written, which gives the chain its order.
CREATE TABLE audit_heads (
    tenant_id uuid        PRIMARY KEY REFERENCES tenants (id),
    number    bigint      NOT NULL,
    hash      bytea       NOT NULL,
    at        timestamptz NOT NULL
) WITH (fillfactor = 70);
SELECT reeve_protect('audit_heads');
REVOKE DELETE ON audit_heads FROM reeve_tenant, reeve_granted, reeve_staff, reeve_system;
