package policy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

type world struct {
	*Service
	fleet        *fleet.Service
	db           *tenantdb.DB
	tenant, site uuid.UUID
}

func newWorld(t testing.TB) *world {
	t.Helper()
	db := dbtest.New(t)
	w := &world{Service: New(db), db: db, tenant: uuid.Must(uuid.NewV7()), site: uuid.Must(uuid.NewV7())}
	w.fleet = fleet.New(fleet.Options{DB: db, Log: dbtest.Log(t), DevicesChanged: w.RecomputeTx, Tokens: fleet.TokenFormat{
		New:  func() (string, [32]byte) { token := rand.Text(); return token, sha256.Sum256([]byte(token)) },
		Read: func(token string) ([32]byte, error) { return sha256.Sum256([]byte(token)), nil },
	}})
	w.system(t, func(tx *gorm.DB) error {
		if err := tx.Exec("insert into tenants (id, name, slug) values (?, 'Acme', 'acme')", w.tenant).Error; err != nil {
			return err
		}
		return tx.Exec("insert into sites (tenant_id, id, name) values (?, ?, 'Office')", w.tenant, w.site).Error
	})
	return w
}

func (w *world) system(t testing.TB, fn func(tx *gorm.DB) error) {
	t.Helper()
	if err := w.db.Tx(dbtest.System(t), fn); err != nil {
		t.Fatal(err)
	}
}

func staff(t testing.TB) context.Context {
	return dbtest.Staff(t, "devices.read", "devices.manage", "devices.enrol", permRead, permManage)
}

func (w *world) devices(t testing.TB, n int) []uuid.UUID {
	t.Helper()
	_, token, _, err := w.fleet.CreateToken(staff(t), fleet.NewToken{TenantID: w.tenant, SiteID: w.site, MaxUses: n})
	if err != nil {
		t.Fatal(err)
	}
	var found []uuid.UUID
	w.system(t, func(tx *gorm.DB) error {
		var list []fleet.Enrolment
		for i := range n {
			key := make([]byte, 32)
			_, _ = rand.Read(key) // never fails
			list = append(list, fleet.Enrolment{Token: token, PublicKey: key, Hostname: fmt.Sprintf("pc-%d", i), OSFamily: "linux", Arch: "amd64", AgentVersion: "1"})
		}
		results, err := w.fleet.EnrolTx(tx, list)
		for _, r := range results {
			found = append(found, r.DeviceID)
		}
		return err
	})
	return found
}

func (w *world) interval(t testing.TB, device uuid.UUID) string {
	t.Helper()
	list, err := w.Effective(staff(t), device)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	o := list[0].Origins["sync_interval_seconds"]
	return fmt.Sprintf("%s %s %s", list[0].Spec["sync_interval_seconds"], o.Scope, o.Name)
}

func (w *world) create(t testing.TB, n NewPolicy, interval int) Policy {
	t.Helper()
	n.Kind, n.Spec = Endpoint, json.RawMessage(fmt.Sprintf(`{"sync_interval_seconds": %d}`, interval))
	if n.TenantID == uuid.Nil {
		n.TenantID = w.tenant
	}
	p, err := w.Create(staff(t), n)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatHoldsFollowsEveryChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	device := w.devices(t, 1)[0]
	check := func(want string) {
		t.Helper()
		if got := w.interval(t, device); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	check("60 default Standard")
	w.create(t, NewPolicy{TenantID: scope.Provider, Name: "All", Scope: Provider}, 120)
	check("120 provider All")
	tag := w.create(t, NewPolicy{Name: "Servers", Scope: Tag, Tag: ptr("server")}, 30)
	check("120 provider All")
	if _, err := w.fleet.Tag(staff(t), device, fleet.TagChange{Add: []string{"server"}}); err != nil {
		t.Fatal(err)
	}
	check("30 tag Servers")
	if _, err := w.Update(staff(t), tag.ID, Change{Version: 1, Spec: json.RawMessage(`{"sync_interval_seconds": 45}`)}); err != nil {
		t.Fatal(err)
	}
	check("45 tag Servers")
	_, err := w.Update(staff(t), tag.ID, Change{Version: 1, Name: ptr("Late")})
	if fault.KindOf(err) != fault.Conflict {
		t.Errorf("a lost race: %v", err)
	}
	if err := w.Delete(staff(t), tag.ID); err != nil {
		t.Fatal(err)
	}
	check("120 provider All")
	w.create(t, NewPolicy{Name: "This one", Scope: Device, ScopeID: &device}, 15)
	check("15 device This one")
	var n int
	w.system(t, func(tx *gorm.DB) error {
		return tx.Raw("select count(*) from device_configs where interval_seconds = 15").Scan(&n).Error
	})
	if n != 1 {
		t.Error("the interval must reach what the device is told")
	}
}

func TestFarReachingChangesAreSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.atOnce = 5
	devices := w.devices(t, 12)
	w.create(t, NewPolicy{TenantID: scope.Provider, Name: "All", Scope: Provider}, 120)
	if got := w.interval(t, devices[3]); got != "60 default Standard" {
		t.Errorf("computed too early: %s", got)
	}
	for range 2 {
		if _, err := w.SweepRecompute(dbtest.System(t)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range devices {
		if got := w.interval(t, d); got != "120 provider All" {
			t.Errorf("%s", got)
		}
	}
	if n, err := w.SweepRecompute(dbtest.System(t)); n != 0 || err != nil {
		t.Errorf("nothing is left: %d, %v", n, err)
	}
}

func TestPoliciesOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := uuid.Must(uuid.NewV7())
	w.system(t, func(tx *gorm.DB) error {
		return tx.Exec("insert into tenants (id, name, slug) values (?, 'Other', 'other')", other).Error
	})
	device := w.devices(t, 1)[0]
	own := w.create(t, NewPolicy{Name: "Own", Scope: Tenant}, 90)
	global := w.create(t, NewPolicy{TenantID: scope.Provider, Name: "All", Scope: Provider}, 120)
	stranger := dbtest.Tenant(t, other, permRead, permManage)
	for name, err := range map[string]error{
		"read":           second(w.Policy(stranger, own.ID)),
		"change":         second(w.Update(stranger, own.ID, Change{Version: 1, Name: ptr("x")})),
		"delete":         w.Delete(stranger, own.ID),
		"effective":      second(w.Effective(stranger, device)),
		"create there":   second(w.Create(stranger, NewPolicy{TenantID: w.tenant, Kind: Endpoint, Name: "x", Scope: Tenant, Spec: json.RawMessage(`{"scripts_allowed":false}`)})),
		"foreign site":   second(w.Create(stranger, NewPolicy{TenantID: other, Kind: Endpoint, Name: "x", Scope: Site, ScopeID: &w.site, Spec: json.RawMessage(`{"scripts_allowed":false}`)})),
		"foreign device": second(w.Create(stranger, NewPolicy{TenantID: other, Kind: Endpoint, Name: "x", Scope: Device, ScopeID: &device, Spec: json.RawMessage(`{"scripts_allowed":false}`)})),
	} {
		if fault.KindOf(err) != fault.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Policy(stranger, global.ID); err != nil {
		t.Errorf("the provider's policies hold for everybody: %v", err)
	}
	if err := w.Delete(stranger, global.ID); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("a tenant deletes the provider's policy: %v", err)
	}
	if list, _, err := w.List(stranger, Filter{}, "", 0); err != nil || len(list) != 1 || list[0].ID != global.ID {
		t.Errorf("%+v, %v", list, err)
	}
	reader := dbtest.Staff(t, permRead)
	if _, err := w.Update(reader, own.ID, Change{Version: 1, Name: ptr("x")}); fault.KindOf(err) != fault.Forbidden {
		t.Errorf("without permission: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
