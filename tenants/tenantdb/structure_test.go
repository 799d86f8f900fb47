package tenantdb_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"reeve/server/dbtest"
)

// global lists the tables without tenant_id, each with the reason why no tenant's data can leak by it.
var global = map[string]string{
	"public.goose_db_version":  "numbers of applied migrations; reeve_system may read them",
	"public.idempotency_keys":  "belongs to an actor, with its own row-level security on actor_id",
	"public.login_throttles":   "digests of accounts and addresses that guess; only reeve_system has grants",
	"public.server_listening":  "one row: since when the server listens; only reeve_system has grants",
	"public.server_keys":       "the installation's own keys; only reeve_system has grants",
	"river.river_job":          "its own row-level security on the tenant_id in the job's arguments",
	"river.river_leader":       "the name of the leading replica; only reeve_system has grants",
	"river.river_migration":    "numbers of applied migrations; only reeve_system has grants",
	"river.river_notification": "which queue has new jobs, by name; nothing of a tenant",
	"river.river_queue":        "names and states of queues; only reeve_system has grants",
}

// uniqueAcrossTenants lists the unique indexes that do not start with tenant_id, each with the reason
// why a conflict reveals nothing.
var uniqueAcrossTenants = map[string]string{
	"tenants_pkey": "the tenants themselves; ids are random",
	"tenants_slug": "only staff create tenants, and staff see all of them",
}

// extraPolicies lists the permissive policies beside those of reeve_protect.
var extraPolicies = map[string]string{
	"public.jobs/reached": "reading only: a job of the provider that reaches no tenant beyond the reader's list",
}

// definers lists the functions that run with the owner's rights.
var definers = map[string]string{
	"reeve_partition":       "makes partitions of the owner's tables; only reeve_system may call it",
	"reeve_drop_partitions": "drops them, never those of an append-only table; only reeve_system may call it",
}

const appRoles = `('reeve_app', 'reeve_migrator', 'reeve_tenant', 'reeve_granted', 'reeve_staff', 'reeve_system')`

// A rule is a query whose rows are violations: an object, and what is wrong with it.
type rule struct{ name, query string }

// tables are the tables that the application reads and writes; partitions are reached through their parents.
const tables = `with tables as (
	select c.oid, n.nspname || '.' || c.relname as name, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
		case when c.oid = 'tenants'::regclass then 'id' else 'tenant_id' end as tenant_column,
		c.oid = 'tenants'::regclass or exists (select from pg_attribute a
			where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped) as of_tenant
	from pg_class c join pg_namespace n on n.oid = c.relnamespace
	where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_toast%' and n.nspname not like 'pg\_temp%'
) `

var rules = []rule{
	{"row-level security", tables + `
		select name, 'row-level security is not enabled and forced; call reeve_protect' from tables
		where of_tenant and not relispartition and not (relrowsecurity and relforcerowsecurity)`},

	{"tenant_id", tables + `
		select t.name, 'tenant_id may be null' from tables t join pg_attribute a on a.attrelid = t.oid and a.attname = t.tenant_column
		where of_tenant and not a.attnotnull`},

	// A table protected a moment ago in this transaction shows what each policy must look like.
	{"policies", tables + `, wanted as (
			select polname, polcmd, polroles, pg_get_expr(polqual, polrelid) as using_, pg_get_expr(polwithcheck, polrelid) as check_
			from pg_policy where polrelid = 'structure_reference'::regclass and polname <> 'provider')
		select t.name, 'policy ' || w.polname || ' is missing or differs from that of reeve_protect' from tables t cross join wanted w
		where of_tenant and not relispartition and not exists (select from pg_policy p where p.polrelid = t.oid and p.polpermissive
			and p.polname = w.polname and p.polcmd = w.polcmd and p.polroles = w.polroles
			and replace(pg_get_expr(p.polqual, p.polrelid), '(' || t.tenant_column, '(tenant_id') = w.using_
			and replace(pg_get_expr(p.polwithcheck, p.polrelid), '(' || t.tenant_column, '(tenant_id') = w.check_)`},

	{"extra policies", tables + `, wanted as (select polname from pg_policy where polrelid = 'structure_reference'::regclass and polname <> 'provider'),
			provider as (select * from pg_policy where polrelid = 'structure_reference'::regclass and polname = 'provider')
		select t.name || '/' || p.polname, 'is a permissive policy beyond those of reeve_protect' from tables t join pg_policy p on p.polrelid = t.oid
		where of_tenant and p.polpermissive and p.polname not in (select polname from wanted) and not exists (
			select from provider o where o.polname = p.polname and o.polcmd = p.polcmd and o.polroles = p.polroles
			and replace(pg_get_expr(p.polqual, p.polrelid), '(' || t.tenant_column, '(tenant_id') = pg_get_expr(o.polqual, o.polrelid))`},

	{"partitions", tables + `
		select t.name, 'a partition is granted to ' || a.grantee::regrole from tables t join pg_class c using (oid), aclexplode(c.relacl) a
		where t.relispartition and a.grantee <> c.relowner`},

	{"global tables", tables + `
		select name, 'has no tenant_id and is not on the list of global tables' from tables where not of_tenant and not relispartition`},

	{"references", tables + `
		select f.conrelid::regclass || '/' || f.conname, 'a reference between tenant tables must start with (tenant_id) -> (tenant_id)'
		from pg_constraint f join tables child on child.oid = f.conrelid join tables parent on parent.oid = f.confrelid
			join pg_attribute a on a.attrelid = f.conrelid and a.attnum = f.conkey[1]
			join pg_attribute b on b.attrelid = f.confrelid and b.attnum = f.confkey[1]
		where f.contype = 'f' and f.conparentid = 0 and child.of_tenant and parent.of_tenant
			and not (a.attname = child.tenant_column and b.attname = parent.tenant_column)
			-- x_tenant_id for what may be the provider's, where exactly this check ties it to the row's own tenant.
			and not (a.attname like '%\_tenant\_id' and b.attname = parent.tenant_column and exists (
				select from pg_constraint c where c.contype = 'c' and c.conrelid = f.conrelid and pg_get_constraintdef(c.oid) =
					format('CHECK (((%1$s = tenant_id) OR (%1$s = %2$L::uuid)))', a.attname, reeve_provider())))`},

	{"unique keys", tables + `
		select i.indexrelid::regclass::text, 'a unique index of a tenant table must start with tenant_id'
		from pg_index i join tables t on t.oid = i.indrelid
			left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
		where i.indisunique and t.of_tenant and not t.relispartition and a.attname is distinct from 'tenant_id'`},

	{"exclusions", tables + `
		select x.conrelid::regclass || '/' || x.conname, 'an exclusion of a tenant table must start with tenant_id'
		from pg_constraint x join tables t on t.oid = x.conrelid join pg_attribute a on a.attrelid = x.conrelid and a.attnum = x.conkey[1]
		where x.contype = 'x' and t.of_tenant and a.attname <> 'tenant_id'`},

	{"identity", tables + `
		select name, 'has an id but no unique (tenant_id, id), so that nothing can refer to it' from tables t
		where of_tenant and tenant_column = 'tenant_id' and not relispartition
			-- Nothing refers to logs, nor can it to what is partitioned by time.
			and not exists (select from pg_trigger g where g.tgrelid = t.oid and g.tgname = 'append_only')
			and not exists (select from pg_partitioned_table p where p.partrelid = t.oid)
			and exists (select from pg_attribute a where a.attrelid = t.oid and a.attname = 'id' and not a.attisdropped)
			and not exists (select from pg_index i where i.indrelid = t.oid and i.indisunique and i.indpred is null
				and pg_get_indexdef(i.indexrelid) ~ '\(tenant_id, id(, |\))')`},

	{"primary keys", tables + `
		select name, 'has no primary key' from tables t
		where not relispartition and not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)`},

	// A view reads with its owner's rights unless told otherwise, and the owner sees every tenant.
	{"views", `
		select c.oid::regclass::text, 'a view must be security_invoker, and none may be materialized' from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname not in ('pg_catalog', 'information_schema')
			and (c.relkind = 'm' or c.relkind = 'v' and not coalesce(c.reloptions @> '{security_invoker=true}' or c.reloptions @> '{security_invoker=on}', false))`},

	{"definers", `
		select p.proname::text, 'runs with the rights of its owner' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
		where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')`},

	{"careless definers", `
		select p.oid::regprocedure::text, 'runs with the rights of its owner without a search_path of its own, or for everybody' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
		where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')
			and (coalesce(array_to_string(p.proconfig, ',') !~ 'search_path=', true) or has_function_privilege('reeve_tenant', p.oid, 'execute'))`},

	{"append-only", `
		select t.tgrelid::regclass::text, 'is append-only and yet granted to ' || r.rolname from pg_trigger t, pg_roles r
		where t.tgname = 'append_only' and r.rolname like 'reeve\_%' and r.rolname not in ('reeve_owner', 'reeve_migrator')
			and has_table_privilege(r.oid, t.tgrelid, 'update, delete, truncate')`},

	{"harmless roles", `
		select rolname::text, 'may do more than a role of ours should' from pg_roles
		where rolname like 'reeve\_%' and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication)`},

	{"quiet logins", `
		select rolname::text, 'has rights of its own before it becomes anybody' from pg_roles r
		where rolname in ('reeve_app', 'reeve_migrator') and (rolinherit or exists (
			select from pg_class c, aclexplode(c.relacl) a where a.grantee in (r.oid, 0) and c.relnamespace in ('public'::regnamespace, 'river'::regnamespace)))`},

	{"owners", `
		select c.oid::regclass::text, 'belongs to ' || c.relowner::regrole from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname in ('public', 'river') and c.relowner <> 'reeve_owner'::regrole
		union all select p.oid::regprocedure::text, 'belongs to ' || p.proowner::regrole from pg_proc p
		where p.pronamespace in ('public'::regnamespace, 'river'::regnamespace) and p.proowner <> 'reeve_owner'::regrole
		union all select nspname::text, 'belongs to ' || nspowner::regrole from pg_namespace where nspowner::regrole::text in ` + appRoles + `
		union all select datname::text, 'belongs to ' || datdba::regrole from pg_database where datdba::regrole::text in ` + appRoles},

	{"memberships", `
		select r.rolname::text, 'can become ' || o.rolname from pg_roles r, pg_roles o
		where r.rolname in ` + appRoles + ` and pg_has_role(r.oid, o.oid, 'member') and r.oid <> o.oid and o.rolname <> 'pg_database_owner'
			and (r.rolname, o.rolname) not in (('reeve_app', 'reeve_tenant'), ('reeve_app', 'reeve_granted'), ('reeve_app', 'reeve_staff'),
				('reeve_app', 'reeve_system'), ('reeve_migrator', 'reeve_owner'))`},
}

// excused are the lists of exceptions by the rule that they excuse from.
var excused = map[string]map[string]string{
	"global tables": global, "unique keys": uniqueAcrossTenants, "extra policies": extraPolicies, "definers": definers,
}

// violations walks the catalogue with every rule. It leaves no trace.
func violations(ctx context.Context, t *testing.T, url, setup string) []string {
	t.Helper()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	prepare := "SET LOCAL ROLE reeve_owner; CREATE TABLE structure_reference (tenant_id uuid NOT NULL PRIMARY KEY); " +
		"SELECT reeve_protect('structure_reference', true);" + setup
	if _, err := tx.Exec(ctx, prepare); err != nil {
		t.Fatal(err)
	}
	var found []string
	used := map[string]bool{}
	for _, r := range rules {
		rows, err := tx.Query(ctx, r.query)
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		type violation struct{ Object, Wrong string }
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[violation])
		if err != nil {
			t.Fatalf("%s: %v", r.name, err)
		}
		for _, v := range all {
			if _, ok := excused[r.name][v.Object]; ok {
				used[r.name+v.Object] = true
				continue
			}
			found = append(found, fmt.Sprintf("%s: %s: %s", r.name, v.Object, v.Wrong))
		}
	}
	for name, list := range excused {
		for object := range list {
			if !used[name+object] {
				found = append(found, fmt.Sprintf("%s: %s: is excused and needs no excuse", name, object))
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestEveryTableKeepsTenantsApart(t *testing.T) {
	t.Parallel()
	for _, v := range violations(t.Context(), t, dbtest.NewURLs(t).Migrator, "") {
		t.Error(v)
	}
}

func TestTheStructuralRulesCatchWhatTheyShould(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURLs(t).Migrator
	before := violations(t.Context(), t, url, "") // the other test's business
	const good = `CREATE TABLE good (tenant_id uuid NOT NULL REFERENCES tenants (id), id uuid NOT NULL, PRIMARY KEY (tenant_id, id)); SELECT reeve_protect('good');`
	const bad = `CREATE TABLE bad (tenant_id uuid NOT NULL, id uuid NOT NULL, x_id uuid, x_tenant_id uuid, PRIMARY KEY (tenant_id, id)); `
	const protected = bad + `SELECT reeve_protect('bad');`
	for _, c := range []struct{ name, sql, want string }{
		{"nothing wrong", good, ""},
		{"no row-level security", bad, "row-level security: public.bad"},
		{"not forced", protected + "ALTER TABLE bad NO FORCE ROW LEVEL SECURITY", "row-level security: public.bad"},
		{"a policy that lets all through", protected + "DROP POLICY tenant ON bad; CREATE POLICY tenant ON bad TO reeve_tenant USING (true) WITH CHECK (true)", "policies: public.bad"},
		{"a policy too few", protected + "DROP POLICY staff ON bad", "policies: public.bad"},
		{"a policy too many", protected + "CREATE POLICY more ON bad TO reeve_tenant USING (x_id IS NULL)", "extra policies: public.bad/more"},
		{"the provider's rows writable", protected + "CREATE POLICY provider ON bad TO reeve_tenant USING (tenant_id = reeve_provider())", "extra policies: public.bad/provider"},
		{"a plain reference", good + protected + "CREATE UNIQUE INDEX good_id ON good (id); ALTER TABLE bad ADD CONSTRAINT plain FOREIGN KEY (x_id) REFERENCES good (id)", "references: bad/plain"},
		{"a reference by another tenant column", good + protected + "ALTER TABLE bad ADD CONSTRAINT other FOREIGN KEY (x_tenant_id, x_id) REFERENCES good (tenant_id, id)", "references: bad/other"},
		{"a reference to what may be the provider's", good + protected + `ALTER TABLE bad ADD CHECK (x_tenant_id IN (tenant_id, '01900000-0000-7000-8000-000000000001')),
			ADD CONSTRAINT other FOREIGN KEY (x_tenant_id, x_id) REFERENCES good (tenant_id, id)`, ""},
		{"a reference to the tenants by another column", protected + "ALTER TABLE bad ADD CONSTRAINT other FOREIGN KEY (x_tenant_id) REFERENCES tenants (id)", "references: bad/other"},
		{"a unique key across tenants", protected + "CREATE UNIQUE INDEX bad_x ON bad (x_id)", "unique keys: bad_x"},
		{"a unique expression", protected + "CREATE UNIQUE INDEX bad_x ON bad ((x_id::text))", "unique keys: bad_x"},
		{"a null tenant", "CREATE TABLE bad (tenant_id uuid, n int PRIMARY KEY); SELECT reeve_protect('bad')", "tenant_id: public.bad"},
		{"no key for references", "CREATE TABLE bad (tenant_id uuid NOT NULL, id uuid PRIMARY KEY); SELECT reeve_protect('bad')", "identity: public.bad"},
		{"no tenant", "CREATE TABLE bad (n int PRIMARY KEY)", "global tables: public.bad"},
		{"a view of the owner", "CREATE VIEW bad AS SELECT * FROM settings", "views: bad"},
		{"a view of the caller", "CREATE VIEW fine WITH (security_invoker = true) AS SELECT * FROM settings", ""},
		{"the owner's function for all", "CREATE FUNCTION bad() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'", "careless definers: bad()"},
		{"a log that can be changed", protected + "SELECT reeve_append_only('bad'); GRANT UPDATE ON bad TO reeve_system", "append-only: bad"},
		{"a table for everybody", protected + "GRANT SELECT ON bad TO PUBLIC", "quiet logins: reeve_app"},
		{"a partition with grants", `CREATE TABLE bad (tenant_id uuid NOT NULL, at timestamptz NOT NULL, PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at); SELECT reeve_protect('bad');
			CREATE TABLE bad_p PARTITION OF bad DEFAULT; GRANT SELECT ON bad_p TO reeve_staff`, "partitions: public.bad_p"},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := slices.DeleteFunc(violations(t.Context(), t, url, c.sql), func(v string) bool { return slices.Contains(before, v) })
			if c.want == "" && len(found) > 0 {
				t.Errorf("unexpected: %q", found)
			}
			if c.want != "" && !slices.ContainsFunc(found, func(v string) bool { return strings.HasPrefix(v, c.want+":") }) {
				t.Errorf("want %q among %q", c.want, found)
			}
		})
	}
}
