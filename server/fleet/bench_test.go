package fleet_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/tenants/scope"
)

// populate makes 1,000 tenants with 100,000 devices, 20,000 of them in the first tenant.
func (w *world) populate(b *testing.B) (big uuid.UUID) {
	b.Helper()
	for _, sql := range []string{
		`insert into tenants (id, name, slug) select gen_random_uuid(), 'Tenant ' || i, 'tenant-' || i from generate_series(1, 999) i`,
		`insert into sites (tenant_id, id, name) select t.id, gen_random_uuid(), 'Site' from tenants t where t.slug like 'tenant-%'`,
		`insert into enrolment_tokens (tenant_id, id, site_id, token_hash, max_uses, expires_at, created_by)
			select tenant_id, id, id, sha256(id::text::bytea), 1, now(), id from sites`,
	} {
		w.exec(b, sql)
	}
	w.system(b, func(tx *gorm.DB) error {
		for _, sql := range []string{
			`with places as (select row_number() over (order by (tenant_id <> ?), id) - 1 as n, tenant_id, id from sites),
			 made as (select i, case when i < 20000 then 0 else 1 + i % 999 end as place from generate_series(0, 99999) i)
			 insert into devices (tenant_id, id, site_id, enrolment_token_id, public_key, state, name, name_key, hostname, os_family, os_name, os_name_key, os_version, arch, agent_version)
			 select p.tenant_id, gen_random_uuid(), p.id, p.id, sha256(i::text::bytea), 'active', v.host, v.host, v.host, 'linux', v.os, lower(v.os), '12', 'amd64', '1.0'
			 from made m join places p on p.n = m.place,
			 lateral (select 'pc-' || substr(md5(i::text), 1, 9) as host, (array['Debian 12', 'Ubuntu 24.04', 'Windows 11', 'macOS 15'])[1 + i % 4] as os) v`,
			`insert into device_presence (tenant_id, device_id, last_seen, interval_seconds) select tenant_id, id, now() - (get_byte(public_key, 0) || ' seconds')::interval, 60 from devices where ?::uuid is not null`,
			`insert into device_configs (tenant_id, device_id, interval_seconds) select tenant_id, id, 60 from devices where ?::uuid is not null`,
			`insert into device_tags (tenant_id, device_id, tag) select tenant_id, id, 'tag-' || get_byte(public_key, 1) % 20 from devices where ?::uuid is not null`,
			`insert into device_terms (tenant_id, device_id, term) select d.tenant_id, d.id, substr(d.name, i) from devices d, generate_series(1, 12) i where ?::uuid is not null on conflict do nothing`,
			`insert into device_facts (tenant_id, device_id, field, value_key) select tenant_id, id, f, v from devices d,
			 lateral (values ('name', d.name_key), ('os_name', d.os_name_key), ('arch', d.arch)) x (f, v) where ?::uuid is not null`,
		} {
			if err := tx.Exec(sql, w.tenant).Error; err != nil {
				return err
			}
		}
		return nil
	})
	return w.tenant
}

// analyse does what autovacuum would have done on a database that has been there for a while.
func analyse(b *testing.B, url string) {
	b.Helper()
	conn, err := pgx.Connect(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(b.Context())
	if _, err := conn.Exec(b.Context(), "vacuum analyze"); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkList reads pages at 100,000 devices and 1,000 tenants under row-level security.
func BenchmarkList(b *testing.B) {
	urls := dbtest.NewURLs(b)
	w := &world{db: dbtest.Open(b, urls.App)}
	w.Service = fleet.New(fleet.Options{DB: w.db, Log: dbtest.Log(b), Tokens: plainTokens,
		Listening: func() fleet.Listening { return fleet.Listening{Since: time.Now().Add(-time.Hour)} }})
	w.tenant, w.site = w.newTenant(b, "big")
	big := w.populate(b)
	analyse(b, urls.Admin)
	var found []uuid.UUID
	w.system(b, func(tx *gorm.DB) error {
		return tx.Raw("select id from tenants where slug = 'tenant-7'").Scan(&found).Error
	})
	small := found[0]
	who := map[string]context.Context{"staff": dbtest.Staff(b, "devices.read"), "big": dbtest.Tenant(b, big, "devices.read"), "small": dbtest.Tenant(b, small, "devices.read"),
		"granted": dbtest.Granted(b, []scope.ID{big, small}, "devices.read")}
	ptr := func(s string) *string { return &s }
	queries := map[string]fleet.Query{
		"plain": {}, "by_os": {Sort: "-os_name"}, "search": {Text: ptr("a1b2")}, "search_short": {Text: ptr("a1")}, "search_none": {Text: ptr("zzzz")},
		"tag": {Tag: ptr("tag-3")}, "offline": {Presence: ptr("offline")}, "with_total": {WithTotal: true},
		"filter":   {Filter: ptr(`{"all":[{"field":"os_name","op":"prefix","value":"deb"},{"any":[{"field":"tag","op":"has","value":"tag-1"},{"field":"name","op":"contains","value":"ff0"}]}]}`)},
		"contains": {Filter: ptr(`{"all":[{"field":"name","op":"contains","value":"a1b2"}]}`)},
	}
	for name, ctx := range who {
		for kind, q := range queries {
			b.Run(fmt.Sprintf("%s/%s", name, kind), func(b *testing.B) {
				for b.Loop() {
					if _, err := w.List(ctx, q); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
