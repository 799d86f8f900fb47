-- Policies, and what they come to for each device.

-- +goose Up

CREATE TABLE policies (
    tenant_id  uuid        NOT NULL REFERENCES tenants (id), -- the provider's hold for every tenant
    id         uuid        NOT NULL,
    kind       text        COLLATE "C" NOT NULL CHECK (char_length(kind) BETWEEN 1 AND 60),
    name       text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 120),
    scope      text        COLLATE "C" NOT NULL CHECK (scope IN ('provider', 'tenant', 'site', 'tag', 'device')),
    site_id    uuid,
    device_id  uuid,
    tag        text        COLLATE "C" CHECK (char_length(tag) BETWEEN 1 AND 60),
    priority   integer     NOT NULL DEFAULT 0 CHECK (priority BETWEEN 0 AND 1000),
    spec       jsonb       NOT NULL CHECK (jsonb_typeof(spec) = 'object'),
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, site_id) REFERENCES sites (tenant_id, id),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT policies_scope CHECK (
        (scope = 'site') = (site_id IS NOT NULL) AND (scope = 'device') = (device_id IS NOT NULL) AND (scope = 'tag') = (tag IS NOT NULL)),
    CONSTRAINT policies_provider CHECK (scope <> 'provider' OR tenant_id = '01900000-0000-7000-8000-000000000001')
);
-- One policy of a kind for one place, or what holds there would depend on chance.
CREATE UNIQUE INDEX policies_place ON policies (tenant_id, kind, scope, coalesce(site_id, device_id, tenant_id), coalesce(tag, ''));
CREATE INDEX policies_site ON policies (tenant_id, site_id) WHERE site_id IS NOT NULL;
CREATE INDEX policies_device ON policies (tenant_id, device_id) WHERE device_id IS NOT NULL;
CREATE INDEX policies_newest ON policies (tenant_id, id DESC);
CREATE INDEX policies_id ON policies (id);
SELECT reeve_protect('policies', true);

-- What holds for a device, with the origin of each field. Its hash is the version of the configuration.
CREATE TABLE device_policies (
    tenant_id   uuid        NOT NULL,
    device_id   uuid        NOT NULL,
    kind        text        COLLATE "C" NOT NULL,
    spec        jsonb       NOT NULL,
    origins     jsonb       NOT NULL, -- field → {scope, policy_id}
    hash        text        COLLATE "C" NOT NULL,
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, device_id, kind),
    FOREIGN KEY (tenant_id, device_id) REFERENCES devices (tenant_id, id) ON DELETE CASCADE
);
SELECT reeve_protect('device_policies');

-- Changes that reach more devices than one request should compute: a sweep works them off in the order
-- of device ids, and remembers how far it came.
CREATE TABLE policy_recomputes (
    tenant_id    uuid        NOT NULL REFERENCES tenants (id), -- the provider: every tenant
    id           uuid        NOT NULL,
    after_device uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX policy_recomputes_oldest ON policy_recomputes (id);
SELECT reeve_protect('policy_recomputes');
