-- Who signs in: people, what they may do, and the credentials by which they and their programs are known.

-- +goose Up

CREATE TABLE users (
    tenant_id       uuid        NOT NULL REFERENCES tenants (id), -- the provider's are staff
    id              uuid        NOT NULL,
    email           text        COLLATE "C" NOT NULL CHECK (char_length(email) BETWEEN 3 AND 254),
    name            text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    locale          text        NOT NULL DEFAULT 'en',
    state           text        COLLATE "C" NOT NULL DEFAULT 'invited' CHECK (state IN ('invited', 'active', 'disabled')),
    last_sign_in_at timestamptz,
    version         bigint      NOT NULL DEFAULT 1,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX users_tenant_email ON users (tenant_id, lower(email));
CREATE INDEX users_email ON users ((lower(email) COLLATE "C"), id);
CREATE INDEX users_id ON users (id);
SELECT reeve_protect('users');
-- People leave; what they did keeps their name.
REVOKE DELETE ON users FROM reeve_tenant, reeve_granted, reeve_staff, reeve_system;

-- A grant is a row of the tenant it reaches, so that each tenant sees who may act on it. all_tenants
-- rows are the provider's.
CREATE TABLE user_grants (
    tenant_id      uuid        NOT NULL REFERENCES tenants (id),
    user_tenant_id uuid        NOT NULL,
    user_id        uuid        NOT NULL,
    role           text        COLLATE "C" NOT NULL,
    all_tenants    boolean     NOT NULL DEFAULT false,
    granted_at     timestamptz NOT NULL DEFAULT now(),
    granted_by     uuid,
    PRIMARY KEY (tenant_id, user_id, role),
    FOREIGN KEY (user_tenant_id, user_id) REFERENCES users (tenant_id, id),
    CHECK (user_tenant_id = tenant_id OR user_tenant_id = '01900000-0000-7000-8000-000000000001'::uuid),
    CHECK (NOT all_tenants OR tenant_id = '01900000-0000-7000-8000-000000000001'::uuid),
    -- Staff roles are for the provider's people, customer roles for one tenant's own.
    CHECK ((role LIKE 'customer\_%') = (user_tenant_id <> '01900000-0000-7000-8000-000000000001'::uuid))
);
CREATE INDEX user_grants_user ON user_grants (user_tenant_id, user_id);
CREATE INDEX user_grants_user_id ON user_grants (user_id);
SELECT reeve_protect('user_grants');

-- Emergency access under break-glass: a grant that ends by itself. A row of the tenant it reaches.
CREATE TABLE emergency_grants (
    tenant_id      uuid        NOT NULL REFERENCES tenants (id),
    id             uuid        NOT NULL,
    user_tenant_id uuid        NOT NULL,
    user_id        uuid        NOT NULL,
    reason         text        NOT NULL CHECK (char_length(reason) BETWEEN 10 AND 1000),
    started_at     timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (user_tenant_id, user_id) REFERENCES users (tenant_id, id),
    CHECK (user_tenant_id = tenant_id OR user_tenant_id = '01900000-0000-7000-8000-000000000001'::uuid),
    CHECK (expires_at > started_at AND expires_at <= started_at + interval '4 hours')
);
CREATE INDEX emergency_grants_user ON emergency_grants (user_tenant_id, user_id);
CREATE INDEX emergency_grants_user_id ON emergency_grants (user_id, expires_at);
SELECT reeve_protect('emergency_grants');
REVOKE DELETE ON emergency_grants FROM reeve_tenant, reeve_granted, reeve_staff, reeve_system;

-- Password hash and second factor. Only the server's own transactions read them; administrators may
-- reset a second factor and see whether there is one.
CREATE TABLE user_credentials (
    tenant_id        uuid        NOT NULL REFERENCES tenants (id),
    user_id          uuid        NOT NULL,
    password_hash    text,
    password_set_at  timestamptz,
    totp_pending     bytea, -- sealed; offered and not yet confirmed
    totp_secret      bytea, -- sealed
    totp_step        bigint      NOT NULL DEFAULT 0, -- the last time step accepted: none is accepted twice
    second_factor_at timestamptz,
    PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id),
    CHECK ((totp_secret IS NULL) = (second_factor_at IS NULL))
);
SELECT reeve_protect('user_credentials');
REVOKE ALL ON user_credentials FROM reeve_tenant, reeve_granted, reeve_staff;
GRANT SELECT (tenant_id, user_id, password_set_at, second_factor_at), INSERT (tenant_id, user_id),
    UPDATE (totp_pending, totp_secret, second_factor_at) ON user_credentials TO reeve_tenant, reeve_granted, reeve_staff;

CREATE TABLE recovery_codes (
    tenant_id uuid        NOT NULL REFERENCES tenants (id),
    user_id   uuid        NOT NULL,
    hash      bytea       NOT NULL CHECK (octet_length(hash) = 32),
    used_at   timestamptz,
    PRIMARY KEY (tenant_id, user_id, hash),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
SELECT reeve_protect('recovery_codes');
REVOKE ALL ON recovery_codes FROM reeve_tenant, reeve_granted, reeve_staff;
GRANT SELECT (tenant_id, user_id), DELETE ON recovery_codes TO reeve_tenant, reeve_granted, reeve_staff;

CREATE TABLE sessions (
    tenant_id      uuid        NOT NULL REFERENCES tenants (id),
    id             uuid        NOT NULL,
    user_id        uuid        NOT NULL,
    address        text        NOT NULL,
    user_agent     text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    last_used_at   timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz NOT NULL,
    stepped_up_at  timestamptz,
    revoked_at     timestamptz,
    revoked_reason text,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX sessions_user ON sessions (tenant_id, user_id, created_at);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
SELECT reeve_protect('sessions');

CREATE TABLE refresh_tokens (
    tenant_id  uuid        NOT NULL REFERENCES tenants (id),
    hash       bytea       NOT NULL CHECK (octet_length(hash) = 32),
    session_id uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz,
    PRIMARY KEY (tenant_id, hash),
    FOREIGN KEY (tenant_id, session_id) REFERENCES sessions (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_hash ON refresh_tokens (hash);
CREATE INDEX refresh_tokens_session ON refresh_tokens (tenant_id, session_id);
SELECT reeve_protect('refresh_tokens');
REVOKE ALL ON refresh_tokens FROM reeve_tenant, reeve_granted, reeve_staff;

CREATE TABLE one_time_links (
    tenant_id  uuid        NOT NULL REFERENCES tenants (id),
    hash       bytea       NOT NULL CHECK (octet_length(hash) = 32),
    user_id    uuid        NOT NULL,
    purpose    text        COLLATE "C" NOT NULL CHECK (purpose IN ('invitation', 'reset')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, hash),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX one_time_links_hash ON one_time_links (hash);
CREATE INDEX one_time_links_user ON one_time_links (tenant_id, user_id);
CREATE INDEX one_time_links_expires_at ON one_time_links (expires_at);
SELECT reeve_protect('one_time_links');
REVOKE ALL ON one_time_links FROM reeve_tenant, reeve_granted, reeve_staff;
GRANT SELECT (tenant_id, user_id), INSERT, DELETE ON one_time_links TO reeve_tenant, reeve_granted, reeve_staff;

-- A key acts for the person who made it, and is a row of where that person lives.
CREATE TABLE api_keys (
    tenant_id         uuid        NOT NULL REFERENCES tenants (id),
    id                uuid        NOT NULL,
    user_id           uuid        NOT NULL,
    name              text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    hash              bytea       NOT NULL CHECK (octet_length(hash) = 32),
    permissions       jsonb       NOT NULL CHECK (jsonb_typeof(permissions) = 'array'),
    all_tenants       boolean     NOT NULL,
    tenants           jsonb       NOT NULL CHECK (jsonb_typeof(tenants) = 'array'),
    networks          jsonb       NOT NULL CHECK (jsonb_typeof(networks) = 'array'),
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    last_used_at      timestamptz,
    last_used_address text,
    seen_networks     jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(seen_networks) = 'array'),
    revoked_at        timestamptz,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id)
);
CREATE INDEX api_keys_id ON api_keys (id);
CREATE INDEX api_keys_user ON api_keys (tenant_id, user_id);
CREATE INDEX api_keys_created_at ON api_keys (created_at, id);
SELECT reeve_protect('api_keys');
REVOKE DELETE ON api_keys FROM reeve_tenant, reeve_granted, reeve_staff, reeve_system;

-- Where guesses come from and whom they are about: counted before anybody is known, and therefore global.
CREATE TABLE login_throttles (
    key           text        COLLATE "C" PRIMARY KEY, -- kind and digest, never an address in clear
    failures      integer     NOT NULL,
    last_at       timestamptz NOT NULL,
    blocked_until timestamptz
);
CREATE INDEX login_throttles_last_at ON login_throttles (last_at);
ALTER TABLE login_throttles ENABLE ROW LEVEL SECURITY;
ALTER TABLE login_throttles FORCE ROW LEVEL SECURITY;
CREATE POLICY owner ON login_throttles TO reeve_owner USING (true) WITH CHECK (true);
CREATE POLICY system ON login_throttles TO reeve_system USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON login_throttles TO reeve_system;
