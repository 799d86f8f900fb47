-- Reeve's database roles. Run once per PostgreSQL installation, as an administrator, with psql:
--
--   psql -d postgres -f postgres-roles.sql
--   psql -d postgres -c "ALTER ROLE reeve_app      PASSWORD 'one long random password'"
--   psql -d postgres -c "ALTER ROLE reeve_migrator PASSWORD 'another long random password'"
--   psql -d postgres -c "CREATE DATABASE reeve OWNER reeve_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'"
--   psql -d postgres -c "REVOKE ALL ON DATABASE reeve FROM PUBLIC"
--   psql -d postgres -c "GRANT CONNECT ON DATABASE reeve TO reeve_app, reeve_migrator"
--
-- (Where the administrator is not a superuser, first: GRANT reeve_owner TO CURRENT_USER.)
--
-- Two roles log in: reeve_app serves requests, reeve_migrator changes the schema. Neither owns
-- anything, neither inherits: each transaction becomes one of the roles below by SET ROLE, and the
-- row-level security policies are written for those. No role is a superuser or bypasses row-level
-- security, so a managed PostgreSQL will do. The file may be run again at any time.

DO $roles$
DECLARE
    wanted record;
BEGIN
    -- A role that exists but could do more than it should is a mistake worth stopping for.
    IF EXISTS (SELECT FROM pg_roles
               WHERE rolname IN ('reeve_owner', 'reeve_tenant', 'reeve_granted', 'reeve_staff',
                                 'reeve_system', 'reeve_app', 'reeve_migrator')
                 AND (rolsuper OR rolbypassrls)) THEN
        RAISE EXCEPTION 'a reeve_ role is superuser or bypasses row-level security; that would void tenant isolation';
    END IF;

    -- The owner inherits, because the schema public belongs to whoever owns the database.
    FOR wanted IN
        SELECT * FROM (VALUES
            ('reeve_owner',    'NOLOGIN INHERIT', 'owns every table; only migrations act as it'),
            ('reeve_tenant',   'NOLOGIN NOINHERIT', 'sees one tenant'),
            ('reeve_granted',  'NOLOGIN NOINHERIT', 'sees a list of tenants'),
            ('reeve_staff',    'NOLOGIN NOINHERIT', 'sees all tenants'),
            ('reeve_system',   'NOLOGIN NOINHERIT', 'the server''s own sweeps and ingest'),
            ('reeve_app',      'LOGIN NOINHERIT', 'the server logs in as it'),
            ('reeve_migrator', 'LOGIN NOINHERIT', 'reeve-server migrate logs in as it')
        ) AS v (name, attributes, remark)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted.name) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
                EXECUTE format('COMMENT ON ROLE %I IS %L', wanted.name, 'Reeve: ' || wanted.remark);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL; -- another session was quicker
            END;
        END IF;
    END LOOP;

    FOR wanted IN
        SELECT * FROM (VALUES
            ('reeve_tenant',  'reeve_app'),
            ('reeve_granted', 'reeve_app'),
            ('reeve_staff',   'reeve_app'),
            ('reeve_system',  'reeve_app'),
            ('reeve_owner',   'reeve_migrator')
        ) AS v (name, member)
    LOOP
        IF NOT EXISTS (SELECT FROM pg_auth_members
                       WHERE roleid = wanted.name::regrole AND member = wanted.member::regrole) THEN
            BEGIN
                EXECUTE format('GRANT %I TO %I', wanted.name, wanted.member);
            EXCEPTION WHEN unique_violation THEN
                NULL;
            END;
        END IF;
    END LOOP;
END
$roles$;
