package tenants_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

var everything = []string{"tenants.read", "tenants.manage", "sites.read", "sites.manage", "settings.read", "settings.manage",
	"custom_fields.read", "custom_fields.manage", "custom_fields.write", "approvals.read", "approvals.decide", "audit.read"}

// ptr spares tests a variable for every optional field.
func ptr[T any](v T) *T { return &v }

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func addTenant(t *testing.T, db *tenantdb.DB, name string) tenants.Tenant {
	t.Helper()
	return must[tenants.Tenant](t)(tenants.NewService(db).Create(dbtest.Staff(t, everything...), tenants.NewTenant{Name: name}))
}

func addSite(t *testing.T, db *tenantdb.DB, tenant uuid.UUID, name string) tenants.Site {
	t.Helper()
	return must[tenants.Site](t)(tenants.NewService(db).CreateSite(dbtest.Staff(t, everything...),
		tenants.NewSite{TenantID: tenant, Name: name}))
}

// addDevice puts a device into a site the way an enrolment does.
func addDevice(t *testing.T, db *tenantdb.DB, site tenants.Site) uuid.UUID {
	t.Helper()
	id, token := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	key := append(append([]byte{}, id[:]...), token[:]...)
	if err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		err := tx.Exec(`INSERT INTO enrolment_tokens (tenant_id, id, site_id, token_hash, max_uses, expires_at, created_by)
			VALUES (?, ?, ?, ?, 1, now(), ?)`, site.TenantID, token, site.ID, key, id).Error
		if err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO devices (tenant_id, id, site_id, enrolment_token_id, public_key, state, name, name_key,
			hostname, os_family) VALUES (?, ?, ?, ?, ?, 'active', 'pc', 'pc', 'pc', 'linux')`,
			site.TenantID, id, site.ID, token, key).Error
	}); err != nil {
		t.Fatal(err)
	}
	return id
}

func retireDevices(t *testing.T, db *tenantdb.DB) {
	t.Helper()
	if err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Exec("UPDATE devices SET state = 'retired', retired_at = now()").Error
	}); err != nil {
		t.Fatal(err)
	}
}

func openTokens(t *testing.T, db *tenantdb.DB) (n int64) {
	t.Helper()
	if err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Table("enrolment_tokens").Where("revoked_at IS NULL").Count(&n).Error
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func audited(t *testing.T, db *tenantdb.DB, tenant uuid.UUID, action string) audit.Record {
	t.Helper()
	page, err := audit.List(dbtest.Staff(t, everything...), db, audit.Filter{TenantID: tenant, Action: action})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Records) == 0 {
		t.Fatalf("no audit entry %s", action)
	}
	return page.Records[0]
}

func TestTenantLife(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewService(db)
	acme := must[tenants.Tenant](t)(s.Create(ctx, tenants.NewTenant{Name: "  Café Zürich & Söhne GmbH ", FirstSite: "Head office"}))
	if acme.Slug != "cafe-zurich-sohne-gmbh" || acme.Name != "Café Zürich & Söhne GmbH" || acme.Zone != "UTC" || acme.SiteCount != 1 {
		t.Errorf("created %+v", acme)
	}
	acme = must[tenants.Tenant](t)(s.Update(ctx, acme.ID, tenants.TenantChange{Version: 1, Zone: ptr("Europe/Zurich"), Notes: ptr("VIP")}))
	if acme.Version != 2 || acme.Zone != "Europe/Zurich" || acme.Notes != "VIP" || acme.Name != "Café Zürich & Söhne GmbH" {
		t.Errorf("updated %+v", acme)
	}
	if _, err := s.Update(ctx, acme.ID, tenants.TenantChange{Version: 1, Notes: ptr("late")}); !errors.Is(err, tenantdb.ErrStale) {
		t.Errorf("an update of an old version: %v", err)
	}
	acme = must[tenants.Tenant](t)(s.Suspend(ctx, acme.ID, 2, "unpaid"))
	if acme.State != tenants.Suspended {
		t.Errorf("suspended %+v", acme)
	}
	if _, err := s.Suspend(ctx, acme.ID, 3, ""); fault.KindOf(err) != fault.Conflict {
		t.Errorf("suspended twice: %v", err)
	}
	acme = must[tenants.Tenant](t)(s.Resume(ctx, acme.ID, 3, ""))

	site := must[[]tenants.Site](t)(first(s.ListSites(ctx, tenants.SiteFilter{TenantID: &acme.ID}, "", 0)))[0]
	addDevice(t, db, site)
	if got := must[tenants.Tenant](t)(s.Get(ctx, acme.ID)); got.DeviceCount != 1 || got.SiteCount != 1 {
		t.Errorf("counted %+v", got)
	}
	if _, err := s.Archive(ctx, acme.ID, 4, ""); !errors.Is(err, tenants.ErrTenantInUse) {
		t.Errorf("archived with a device: %v", err)
	}
	retireDevices(t, db)
	acme = must[tenants.Tenant](t)(s.Archive(ctx, acme.ID, 4, "left us"))
	if n := openTokens(t, db); n != 0 {
		t.Errorf("%d enrolment tokens still work", n)
	}
	for name, err := range map[string]error{
		"resume": second(s.Resume(ctx, acme.ID, 5, "")),
		"update": second(s.Update(ctx, acme.ID, tenants.TenantChange{Version: 5, Notes: ptr("x")})),
		"site":   second(s.CreateSite(ctx, tenants.NewSite{TenantID: acme.ID, Name: "New"})),
		"change": second(s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 1, Notes: ptr("x")})),
	} {
		if !errors.Is(err, tenants.ErrTenantArchived) {
			t.Errorf("%s of an archived tenant: %v", name, err)
		}
	}
	if r := audited(t, db, acme.ID, "tenant.suspended"); string(r.Detail) != `{"reason":"unpaid"}` || len(r.Before) == 0 || len(r.After) == 0 {
		t.Errorf("audited %+v", r)
	}
}

func first[A, B any](a A, _ B, err error) (A, error) { return a, err }
func second[A any](_ A, err error) error             { return err }

func TestProviderIsNoOrdinaryTenant(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewService(db)
	if _, err := s.Suspend(ctx, scope.Provider, 1, ""); !errors.Is(err, tenants.ErrProviderState) {
		t.Errorf("suspended: %v", err)
	}
	if _, err := s.Archive(ctx, scope.Provider, 1, ""); !errors.Is(err, tenants.ErrProviderState) {
		t.Errorf("archived: %v", err)
	}
	if _, err := s.Update(ctx, scope.Provider, tenants.TenantChange{Version: 1, Name: ptr("X")}); !errors.Is(err, tenants.ErrProviderProfile) {
		t.Errorf("renamed: %v", err)
	}
	if _, err := s.Update(ctx, scope.Provider, tenants.TenantChange{Version: 1, EnrolmentApproval: ptr(true)}); err != nil {
		t.Error(err)
	}
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewService(db)
	for i, want := range []string{"acme", "acme-2", "acme-3"} {
		if got := addTenant(t, db, "ACME"); got.Slug != want {
			t.Errorf("%d: %s", i, got.Slug)
		}
	}
	if got := addTenant(t, db, "日本"); got.Slug != "tenant" {
		t.Errorf("without Latin letters: %s", got.Slug)
	}
	if _, err := s.Create(ctx, tenants.NewTenant{Name: "X", Slug: "acme"}); !errors.Is(err, tenants.ErrSlugTaken) {
		t.Errorf("a taken slug: %v", err)
	}
}

func TestTenantFieldsAreNamed(t *testing.T) {
	t.Parallel()
	err := tenants.NewTenant{Name: " ", Slug: "Not a slug", Zone: "Mars/Olympus", Locale: "!", Notes: "a\x00b", FirstSite: "a\nb"}.Validate()
	f, _ := fault.As(err)
	var got []string
	for _, x := range f.Fields {
		got = append(got, x.Pointer)
	}
	if want := "[/name /slug /zone /locale /notes /first_site]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestTenantsAreListedByName(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewService(db)
	for _, name := range []string{"zeta", "Beta", "alpha", "beta", "İzmir", "100 % (x_y)"} {
		addTenant(t, db, name)
	}
	var names []string
	for cursor, more := "", true; more; more = cursor != "" {
		page, next, err := s.List(ctx, tenants.TenantFilter{}, cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range page {
			names = append(names, x.Name)
		}
		cursor = next
	}
	if len(names) != 7 || names[0] != "100 % (x_y)" || names[1] != "alpha" || names[5] != "Provider" {
		t.Errorf("listed %q", names)
	}
	for query, want := range map[string]int{"ETA": 3, "%": 1, "_": 1, "nothing": 0} {
		page, _, err := s.List(ctx, tenants.TenantFilter{Query: &query}, "", 0)
		if err != nil || len(page) != want {
			t.Errorf("%q found %d, %v", query, len(page), err)
		}
	}
	if _, _, err := s.List(ctx, tenants.TenantFilter{}, "forged", 0); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a forged cursor: %v", err)
	}
}

func TestSites(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewService(db)
	acme := addTenant(t, db, "Acme")
	site := addSite(t, db, acme.ID, "Berlin")
	if site.EffectiveZone() != "UTC" || site.TenantName != "Acme" {
		t.Errorf("created %+v", site)
	}
	if _, err := s.CreateSite(ctx, tenants.NewSite{TenantID: acme.ID, Name: "BERLIN"}); !errors.Is(err, tenants.ErrSiteNameTaken) {
		t.Errorf("a taken name: %v", err)
	}
	site = must[tenants.Site](t)(s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 1, Zone: ptr("Europe/Berlin")}))
	if site.EffectiveZone() != "Europe/Berlin" {
		t.Errorf("zone %s", site.EffectiveZone())
	}
	site = must[tenants.Site](t)(s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 2, Zone: ptr("")}))
	if site.EffectiveZone() != "UTC" || site.Zone != nil {
		t.Errorf("zone %s", site.EffectiveZone())
	}
	addDevice(t, db, site)
	if _, err := s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 3, Archived: ptr(true)}); !errors.Is(err, tenants.ErrSiteInUse) {
		t.Errorf("archived with a device: %v", err)
	}
	if n := openTokens(t, db); n != 1 {
		t.Errorf("a refused archiving revoked a token: %d left", n)
	}
	retireDevices(t, db)
	site = must[tenants.Site](t)(s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 3, Archived: ptr(true)}))
	if n := openTokens(t, db); n != 0 {
		t.Errorf("%d enrolment tokens still work", n)
	}
	if _, err := s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 4, Notes: ptr("x")}); !errors.Is(err, tenants.ErrSiteArchived) {
		t.Errorf("changed while archived: %v", err)
	}
	addSite(t, db, acme.ID, "Berlin") // the name is free again
	if _, err := s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 4, Archived: ptr(false)}); !errors.Is(err, tenants.ErrSiteNameTaken) {
		t.Errorf("restored onto a taken name: %v", err)
	}
	site = must[tenants.Site](t)(s.UpdateSite(ctx, site.ID, tenants.SiteChange{Version: 4, Archived: ptr(false), Name: ptr("Berlin Mitte")}))
	if site.ArchivedAt != nil || site.Name != "Berlin Mitte" {
		t.Errorf("restored %+v", site)
	}
	audited(t, db, acme.ID, "site.archived")
	audited(t, db, acme.ID, "site.restored")
}

func TestNothingJoinsWhatIsBeingArchived(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewService(db)
	acme := addTenant(t, db, "Acme")
	site := addSite(t, db, acme.ID, "Berlin")
	addDevice(t, db, site) // makes a token, too
	retireDevices(t, db)
	// An enrolment has taken its token and not committed yet.
	archived := make(chan error, 1)
	if err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		if err := tx.Exec("UPDATE enrolment_tokens SET uses = 1").Error; err != nil {
			return err
		}
		go func() {
			_, err := s.Archive(ctx, acme.ID, 1, "")
			archived <- err
		}()
		return tx.Exec("UPDATE devices SET state = 'active', retired_at = NULL").Error
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-archived; !errors.Is(err, tenants.ErrTenantInUse) {
		t.Errorf("archived over an enrolment under way: %v", err)
	}
}

func TestOtherTenantsAreOutOfReach(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s := tenants.NewService(db)
	mine, theirs := addTenant(t, db, "Mine"), addTenant(t, db, "Theirs")
	mySite, theirSite := addSite(t, db, mine.ID, "Mine"), addSite(t, db, theirs.ID, "Theirs")
	for name, ctx := range map[string]context.Context{
		"tenant":  dbtest.Tenant(t, mine.ID, everything...),
		"granted": dbtest.Granted(t, []scope.ID{mine.ID}, everything...),
	} {
		for what, err := range map[string]error{
			"get":         second(s.Get(ctx, theirs.ID)),
			"provider":    second(s.Get(ctx, scope.Provider)),
			"update":      second(s.Update(ctx, theirs.ID, tenants.TenantChange{Version: 1, Notes: ptr("x")})),
			"suspend":     second(s.Suspend(ctx, theirs.ID, 1, "")),
			"get site":    second(s.GetSite(ctx, theirSite.ID)),
			"update site": second(s.UpdateSite(ctx, theirSite.ID, tenants.SiteChange{Version: 1, Notes: ptr("x")})),
			"create site": second(s.CreateSite(ctx, tenants.NewSite{TenantID: theirs.ID, Name: "X"})),
		} {
			if fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		for what, err := range map[string]error{
			"create":      second(s.Create(ctx, tenants.NewTenant{Name: "X"})),
			"suspend own": second(s.Suspend(ctx, mine.ID, 1, "")),
		} {
			if fault.KindOf(err) != fault.Forbidden {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		page, _, err := s.List(ctx, tenants.TenantFilter{}, "", 0)
		if err != nil || len(page) != 1 || page[0].ID != mine.ID {
			t.Errorf("%s: listed %+v, %v", name, page, err)
		}
		sites, _, err := s.ListSites(ctx, tenants.SiteFilter{}, "", 0)
		if err != nil || len(sites) != 1 || sites[0].ID != mySite.ID || sites[0].TenantName != "Mine" {
			t.Errorf("%s: listed %+v, %v", name, sites, err)
		}
		sites, _, err = s.ListSites(ctx, tenants.SiteFilter{TenantID: &theirs.ID}, "", 0)
		if err != nil || len(sites) != 0 {
			t.Errorf("%s: listed %+v, %v", name, sites, err)
		}
	}
	if got := must[tenants.Tenant](t)(s.Get(dbtest.Staff(t, everything...), theirs.ID)); got.Version != 1 {
		t.Errorf("changed: %+v", got)
	}
}

func TestPermissionsHoldPerTenant(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s := tenants.NewService(db)
	one, two := addTenant(t, db, "One"), addTenant(t, db, "Two")
	// Sees both, may read only one of them.
	sc := scope.From(dbtest.Granted(t, []scope.ID{one.ID, two.ID}, "sites.read"))
	sc.Grants[0].Permissions = []string{"tenants.read"}
	ctx := scope.With(t.Context(), sc)
	page, _, err := s.List(ctx, tenants.TenantFilter{}, "", 0)
	if err != nil || len(page) != 1 || page[0].ID != one.ID {
		t.Errorf("listed %+v, %v", page, err)
	}
	if _, err := s.Get(ctx, two.ID); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("read: %v", err)
	}
	if _, err := s.Update(ctx, one.ID, tenants.TenantChange{Version: 1}); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("updated: %v", err)
	}
}
