package fleet_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// world is a fleet service on a database of its own with one tenant and site.
type world struct {
	*fleet.Service
	db     *tenantdb.DB
	tenant uuid.UUID
	site   uuid.UUID
	rang   []uuid.UUID // devices whose state changed
}

var plainTokens = fleet.TokenFormat{
	New: func() (string, [32]byte) { token := rand.Text(); return token, sha256.Sum256([]byte(token)) },
	Read: func(token string) ([32]byte, error) {
		if token == "" {
			return [32]byte{}, fleet.ErrTokenInvalid
		}
		return sha256.Sum256([]byte(token)), nil
	},
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{db: dbtest.New(t)}
	w.Service = fleet.New(fleet.Options{DB: w.db, Log: dbtest.Log(t), Tokens: plainTokens,
		Listening:    func() fleet.Listening { return fleet.Listening{Since: time.Now().Add(-time.Hour)} },
		Install:      fleet.Install{PublicURL: "https://rmm.example.test"},
		StateChanged: func(ids []uuid.UUID) { w.rang = append(w.rang, ids...) }})
	w.tenant, w.site = w.newTenant(t, "acme")
	return w
}

func (w *world) newTenant(t testing.TB, slug string) (tenant, site uuid.UUID) {
	t.Helper()
	tenant, site = newID(), newID()
	w.exec(t, "insert into tenants (id, name, slug) values (?, ?, ?)", tenant, slug, slug)
	w.exec(t, "insert into sites (tenant_id, id, name) values (?, ?, 'Head office')", tenant, site)
	return tenant, site
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func (w *world) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	w.system(t, func(tx *gorm.DB) error { return tx.Exec(sql, args...).Error })
}

func (w *world) system(t testing.TB, fn func(tx *gorm.DB) error) {
	t.Helper()
	if err := w.db.Tx(dbtest.System(t), fn); err != nil {
		t.Fatal(err)
	}
}

func staff(t testing.TB) context.Context {
	return dbtest.Staff(t, "devices.read", "devices.manage", "devices.approve", "devices.enrol")
}

// token makes an enrolment token for the world's site.
func (w *world) token(t testing.TB, uses int, tags ...string) string {
	t.Helper()
	_, token, _, err := w.CreateToken(staff(t), fleet.NewToken{TenantID: w.tenant, SiteID: w.site, MaxUses: uses, Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func machine(token, hostname string) fleet.Enrolment {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return fleet.Enrolment{Token: token, PublicKey: key, Hostname: hostname, OSFamily: "linux", OSName: "Debian GNU/Linux", OSVersion: "12",
		Arch: "amd64", AgentVersion: "1.0.0"}
}

func (w *world) enrol(t testing.TB, list ...fleet.Enrolment) []fleet.Enrolled {
	t.Helper()
	var results []fleet.Enrolled
	w.system(t, func(tx *gorm.DB) (err error) {
		results, err = w.EnrolTx(tx, list)
		return err
	})
	return results
}

// devices enrols n machines of the given name pattern.
func (w *world) devices(t testing.TB, n int, pattern string, tags ...string) []uuid.UUID {
	t.Helper()
	token := w.token(t, n, tags...)
	var list []fleet.Enrolment
	for i := range n {
		list = append(list, machine(token, fmt.Sprintf(pattern, i)))
	}
	var found []uuid.UUID
	for _, r := range w.enrol(t, list...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		found = append(found, r.DeviceID)
	}
	return found
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Fatalf("got %v (%s), want %s", err, fault.KindOf(err), kind)
	}
}

func (w *world) count(t testing.TB, sql string, args ...any) (n int) {
	t.Helper()
	w.system(t, func(tx *gorm.DB) error { return tx.Raw(sql, args...).Scan(&n).Error })
	return n
}

func TestEnrolledDeviceIsListedReadAndAudited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.devices(t, 1, "web-%02d.example", "prod", "linux")[0]
	page, err := w.List(staff(t), fleet.Query{WithTotal: true})
	if err != nil || len(page.Items) != 1 || *page.Total != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	d, err := w.Device(staff(t), id)
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "web-00.example" || d.State != fleet.Active || d.Presence != fleet.Never || strings.Join(d.Tags, ",") != "linux,prod" ||
		d.SiteName != "Head office" || d.TenantName != "acme" {
		t.Errorf("%+v", d)
	}
	events, _, err := w.Timeline(staff(t), id, nil, "", 0)
	if err != nil || len(events) != 1 || events[0].Kind != "device.enrolled" {
		t.Errorf("timeline: %+v, %v", events, err)
	}
	if n := w.count(t, "select count(*) from audit_entries where action = 'device.enrolled' and object_id = ?", id.String()); n != 1 {
		t.Errorf("audit rows: %d", n)
	}
}

func TestTokenCapHoldsInARace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const cap, racers = 7, 100
	token := w.token(t, cap)
	results := make(chan fleet.Enrolled, racers)
	for i := range racers {
		go func() {
			var r fleet.Enrolled
			err := w.db.Tx(scope.AsSystem(context.Background(), "test"), func(tx *gorm.DB) error {
				list, err := w.EnrolTx(tx, []fleet.Enrolment{machine(token, fmt.Sprintf("racer-%d", i))})
				if err == nil {
					r = list[0]
				}
				return err
			})
			if err != nil {
				r.Err = err
			}
			results <- r
		}()
	}
	admitted := 0
	for range racers {
		switch r := <-results; {
		case r.Err == nil:
			admitted++
		case fault.KindOf(r.Err) != fault.Gone && fault.KindOf(r.Err) != fault.Unavailable:
			t.Errorf("unexpected refusal: %v", r.Err)
		}
	}
	if n := w.count(t, "select count(*) from devices"); n != cap || admitted != cap {
		t.Errorf("%d devices, %d admitted, cap %d", n, admitted, cap)
	}
}

func TestEnrolmentRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, 3)
	first := machine(token, "one")
	first.Serial = "SN-1"
	same := machine(token, "two")
	same.Serial = "SN-1"
	results := w.enrol(t, first, same, machine("nonsense", "x"), machine("", "y"))
	if results[0].Err != nil || results[1].Err != nil || results[0].DeviceID == results[1].DeviceID {
		t.Fatalf("a known serial must not take over: %+v", results)
	}
	wantKind(t, results[2].Err, fault.Unauthenticated)
	wantKind(t, results[3].Err, fault.Unauthenticated)

	again := w.enrol(t, first)[0]
	if again.Err != nil || again.DeviceID != results[0].DeviceID {
		t.Errorf("a repeated enrolment must get the same answer: %+v", again)
	}
	if n := w.count(t, "select uses from enrolment_tokens"); n != 2 {
		t.Errorf("uses: %d", n)
	}
	stolen := first
	stolen.Token = w.token(t, 1)
	wantKind(t, w.enrol(t, stolen)[0].Err, fault.Conflict)

	list, _, err := w.Tokens(staff(t), nil, "", 0)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, token := range list {
		if err := w.RevokeToken(staff(t), token.ID); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, w.enrol(t, machine(token, "late"))[0].Err, fault.Gone)
	w.exec(t, "update tenants set state = 'suspended' where id = ?", w.tenant)
	wantKind(t, w.enrol(t, machine(token, "later"))[0].Err, fault.Conflict)
}
