-- Conventions of every migration in this folder:
--
-- * One file per change, NNNNN_noun.sql, never edited once released. The runner has already done
--   SET ROLE reeve_owner: every object belongs to it, and nothing here creates or alters a role.
-- * A tenant table has `tenant_id uuid NOT NULL REFERENCES tenants (id)`, `id uuid NOT NULL` (UUIDv7,
--   made in Go) and `PRIMARY KEY (tenant_id, id)`. Every other key and unique index starts with
--   tenant_id, so that a conflict cannot reveal another tenant's row.
-- * A reference between tenant tables is composite, FOREIGN KEY (tenant_id, x_id) REFERENCES x
--   (tenant_id, id), because a plain one bypasses row-level security. Index its columns. What may also be
--   the provider's gets a column of its own: FOREIGN KEY (x_tenant_id, x_id) with the constraint
--   CHECK (x_tenant_id IN (tenant_id, '01900000-0000-7000-8000-000000000001')).
-- * After CREATE TABLE: SELECT reeve_protect('x'), or reeve_protect('x', true) when tenants inherit
--   the provider's rows; then SELECT reeve_append_only('x') for a log or ledger.
-- * Staff read across tenants: they need indexes without a tenant lead (not unique ones).
-- * timestamptz for instants, text with CHECK for states, numeric for money, COLLATE "C" for text
--   that is sorted or searched by prefix, jsonb only for what is never filtered on.
-- * A partition is made by reeve_partition(), dropped by reeve_drop_partitions(), and has no grants.
-- * A table without tenant_id must be listed, with its reason, in tenants/tenantdb/structure_test.go.

-- +goose Up

-- +goose StatementBegin
DO $$
BEGIN
    IF current_user <> 'reeve_owner' THEN
        RAISE EXCEPTION 'migrations must run as reeve_owner, not as %', current_user;
    END IF;
END
$$;
-- +goose StatementEnd

-- What the transaction was opened for. The setting reads '' on a pooled connection, hence nullif.
CREATE FUNCTION reeve_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('reeve.tenant', true), '')::uuid;
CREATE FUNCTION reeve_tenants() RETURNS uuid[] LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('reeve.tenants', true), '')::uuid[];
CREATE FUNCTION reeve_actor() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('reeve.actor', true), '')::uuid;
-- The tenant row of the MSP itself; scope.Provider in Go.
CREATE FUNCTION reeve_provider() RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '01900000-0000-7000-8000-000000000001'::uuid;

-- reeve_protect puts a table under row-level security and grants it to the four roles.
-- tenant_column is 'id' for the table of tenants itself, and 'tenant_id' everywhere else.
-- +goose StatementBegin
CREATE FUNCTION reeve_protect(
    target regclass, provider_readable boolean DEFAULT false, tenant_column name DEFAULT 'tenant_id'
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one  text := format('%I = nullif(current_setting(''reeve.tenant'', true), '''')::uuid', tenant_column);
    -- The scalar sub-select is vital: without it the array is parsed once per row.
    many text := format('%I = ANY ((SELECT nullif(current_setting(''reeve.tenants'', true), '''')::uuid[])::uuid[])', tenant_column);
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    -- Without its own policy FORCE would make the owner's statements touch nothing, silently.
    EXECUTE format('CREATE POLICY owner ON %s TO reeve_owner USING (true) WITH CHECK (true)', target);
    EXECUTE format('CREATE POLICY tenant ON %s TO reeve_tenant USING (%s) WITH CHECK (%2$s)', target, one);
    EXECUTE format('CREATE POLICY granted ON %s TO reeve_granted USING (%s) WITH CHECK (%2$s)', target, many);
    EXECUTE format('CREATE POLICY staff ON %s TO reeve_staff USING (true) WITH CHECK (true)', target);
    EXECUTE format('CREATE POLICY system ON %s TO reeve_system USING (true) WITH CHECK (true)', target);
    IF provider_readable THEN
        EXECUTE format('CREATE POLICY provider ON %s FOR SELECT TO reeve_tenant, reeve_granted USING (%I = %L::uuid)',
                       target, tenant_column, reeve_provider());
    END IF;
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO reeve_tenant, reeve_granted, reeve_staff, reeve_system', target);
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION reeve_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege', HINT = 'append a correcting row instead';
END
$$;
-- +goose StatementEnd

-- reeve_append_only makes a protected table a log: rows go in and never change, for anyone.
-- +goose StatementBegin
CREATE FUNCTION reeve_append_only(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %s FROM reeve_tenant, reeve_granted, reeve_staff, reeve_system', target);
    -- Row triggers, because partitions inherit them.
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION reeve_refuse_change()', target);
    EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION reeve_refuse_change()', target);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', target);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only_truncate', target);
END
$$;
-- +goose StatementEnd

-- reeve_partition makes the partition [from_time, to_time) of a table partitioned by time, named after its
-- start, unless it exists. It runs as the owner, so that a sweep without rights to DDL can call it.
-- +goose StatementBegin
CREATE FUNCTION reeve_partition(parent regclass, from_time timestamptz, to_time timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    parent_name   name;
    parent_schema name;
    child         name;
BEGIN
    SELECT c.relname, n.nspname INTO parent_name, parent_schema
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent;
    child := parent_name || to_char(from_time AT TIME ZONE 'UTC', '"_p"YYYYMMDD"t"HH24MI');
    -- Replicas may run the same sweep: one makes it, the others find it.
    PERFORM pg_advisory_xact_lock(hashtext('reeve_partition'), parent::oid::integer);
    IF to_regclass(format('%I.%I', parent_schema, child)) IS NULL THEN
        EXECUTE format('CREATE TABLE %I.%I PARTITION OF %s FOR VALUES FROM (%L) TO (%L)',
                       parent_schema, child, parent, from_time, to_time);
    END IF;
    RETURN child;
END
$$;
-- +goose StatementEnd

-- reeve_drop_partitions drops the partitions that end at or before a time, except those of append-only
-- tables, which are never pruned, and returns how many.
-- +goose StatementBegin
CREATE FUNCTION reeve_drop_partitions(parent regclass, before timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    child   record;
    dropped integer := 0;
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = parent AND tgname = 'append_only') THEN
        RAISE EXCEPTION 'table % is append-only and is never pruned', parent USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('reeve_partition'), parent::oid::integer);
    FOR child IN
        SELECT c.oid::regclass AS rel,
               substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \(''([^'']+)''\)')::timestamptz AS ends
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = parent
    LOOP
        IF child.ends <= before THEN
            EXECUTE format('DROP TABLE %s', child.rel);
            dropped := dropped + 1;
        END IF;
    END LOOP;
    RETURN dropped;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION reeve_protect(regclass, boolean, name) FROM PUBLIC;
REVOKE ALL ON FUNCTION reeve_append_only(regclass) FROM PUBLIC;
REVOKE ALL ON FUNCTION reeve_partition(regclass, timestamptz, timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION reeve_drop_partitions(regclass, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reeve_partition(regclass, timestamptz, timestamptz) TO reeve_system;
GRANT EXECUTE ON FUNCTION reeve_drop_partitions(regclass, timestamptz) TO reeve_system;
