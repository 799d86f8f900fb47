-- The wrapped data key of each tenant, and the server's own signing keys.

-- +goose Up

-- A tenant's data key, wrapped by the master key that lives outside the database. The row whose
-- wrapped key is gone is a tenant whose secrets can never be read again.
CREATE TABLE tenant_keys (
    tenant_id    uuid        NOT NULL REFERENCES tenants (id),
    version      integer     NOT NULL CHECK (version > 0),
    master_id    text        COLLATE "C" NOT NULL,
    wrapped      bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    shredded_at  timestamptz,
    PRIMARY KEY (tenant_id, version),
    CHECK ((wrapped IS NULL) = (shredded_at IS NOT NULL))
);
CREATE INDEX tenant_keys_master ON tenant_keys (master_id);
SELECT reeve_protect('tenant_keys');
REVOKE DELETE ON tenant_keys FROM reeve_tenant, reeve_granted, reeve_staff, reeve_system;
REVOKE UPDATE ON tenant_keys FROM reeve_tenant, reeve_granted, reeve_staff;

-- The installation's own keys: global, because they belong to the server and to no tenant. Only the
-- server itself reads them; private halves are sealed by the master key.
CREATE TABLE server_keys (
    kid        text        COLLATE "C" PRIMARY KEY,
    purpose    text        NOT NULL CHECK (purpose IN ('task', 'access', 'checkpoint')),
    public     bytea       NOT NULL CHECK (octet_length(public) = 32),
    master_id  text        COLLATE "C" NOT NULL,
    sealed     bytea, -- gone once the key is retired
    signed_by  text        COLLATE "C" REFERENCES server_keys (kid),
    signature  bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    active_at  timestamptz NOT NULL DEFAULT now(), -- signs from here on, unless a younger key does
    retired_at timestamptz,                        -- verifies nothing any more
    CHECK ((signed_by IS NULL) = (signature IS NULL))
);
CREATE INDEX server_keys_purpose ON server_keys (purpose, created_at);
ALTER TABLE server_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE server_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON server_keys TO reeve_owner USING (true) WITH CHECK (true);
CREATE POLICY system ON server_keys TO reeve_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE ON server_keys TO reeve_system;
