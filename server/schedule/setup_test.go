package schedule_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/server/fleet"
	"reeve/server/schedule"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// provider is the tenant whose schedules reach all others.
var provider = uuid.UUID(scope.Provider)

// house is schedules on a real database, with an executor that only writes down what it is told.
type house struct {
	t    testing.TB
	url  string
	db   *tenantdb.DB
	s    *schedule.Service
	exec *recorder

	mu  sync.Mutex
	now time.Time
}

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, url: dbtest.NewURLs(t).App, exec: &recorder{}, now: instant(t, "2025-06-10T12:00:00Z")}
	h.db = dbtest.Open(t, h.url)
	h.s = h.replica(h.db, h.exec)
	return h
}

// replica is another server on the same database and clock.
func (h *house) replica(db *tenantdb.DB, exec schedule.Executor) *schedule.Service {
	s := schedule.New(db, fleet.New(fleet.Options{DB: db, Log: dbtest.Log(h.t)}), exec, dbtest.Log(h.t))
	s.SetClock(func(*gorm.DB) time.Time { return h.time() })
	return s
}

func (h *house) time() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) at(text string) *house {
	h.t.Helper()
	h.set(instant(h.t, text))
	return h
}

func (h *house) set(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = now
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// recorder is an executor; what it was told counts once it is committed.
type recorder struct {
	mu         sync.Mutex
	fired      []schedule.Order
	forgotten  int
	superseded []schedule.Superseded
	check      func(schedule.Schedule) (*uuid.UUID, error)
	fire       func(schedule.Order) error
}

func (r *recorder) CheckTx(_ *gorm.DB, s schedule.Schedule, _ []fleet.Target, _ string) (*uuid.UUID, error) {
	if r.check == nil {
		return s.ApprovalID, nil
	}
	return r.check(s)
}

func (r *recorder) ForgetTx(*gorm.DB, schedule.Schedule, string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgotten++
	return nil
}

func (r *recorder) FireTx(tx *gorm.DB, orders []schedule.Order) ([]uuid.UUID, error) {
	r.mu.Lock()
	fire := r.fire
	r.mu.Unlock()
	var jobs []uuid.UUID
	for _, o := range orders {
		if fire != nil {
			if err := fire(o); err != nil {
				return nil, err
			}
		}
		jobs = append(jobs, uuid.Must(uuid.NewV7()))
	}
	tenantdb.AfterCommit(tx, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fired = append(r.fired, orders...)
	})
	return jobs, nil
}

func (r *recorder) SupersedeTx(*gorm.DB, []schedule.Renewal, []uuid.UUID) ([]schedule.Superseded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.superseded
	r.superseded = nil
	return list, nil
}

// orders are what was fired since the last call.
func (r *recorder) orders() []schedule.Order {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.fired
	r.fired = nil
	return list
}

func (r *recorder) whenFired(fire func(schedule.Order) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fire = fire
}

func (h *house) system(fn func(tx *gorm.DB) error) {
	h.t.Helper()
	must(h.t, h.db.System(dbtest.System(h.t), fn))
}

func (h *house) exec1(sql string, args ...any) {
	h.t.Helper()
	h.system(func(tx *gorm.DB) error { return tx.Exec(sql, args...).Error })
}

func (h *house) count(sql string, args ...any) (n int) {
	h.t.Helper()
	h.system(func(tx *gorm.DB) error { return tx.Raw(sql, args...).Scan(&n).Error })
	return n
}

// texts are the first column of a query.
func (h *house) texts(sql string, args ...any) (list []string) {
	h.t.Helper()
	h.system(func(tx *gorm.DB) error { return tx.Raw(sql, args...).Scan(&list).Error })
	return list
}

// place is a tenant with one site.
type place struct{ tenant, site, token uuid.UUID }

func (h *house) place(zone string) place {
	h.t.Helper()
	p := place{uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())}
	name := "T" + p.tenant.String()
	must(h.t, h.db.Tx(dbtest.Staff(h.t), func(tx *gorm.DB) error {
		return tx.Exec("insert into tenants (id, name, slug, zone) values (?, ?, ?, ?)", p.tenant, name, strings.ToLower(name), zone).Error
	}))
	h.exec1("insert into sites (tenant_id, id, name) values (?, ?, 'Main')", p.tenant, p.site)
	h.exec1(`insert into enrolment_tokens (tenant_id, id, site_id, token_hash, max_uses, expires_at, created_by)
		values (?, ?, ?, sha256(?::text::bytea), 1, now(), ?)`, p.tenant, p.token, p.site, p.token.String(), p.token)
	return p
}

// device adds an active device; zone is what it reports, if anything.
func (h *house) device(p place, zone string) uuid.UUID {
	h.t.Helper()
	id := uuid.Must(uuid.NewV7())
	h.exec1(`insert into devices (tenant_id, id, site_id, enrolment_token_id, public_key, state, name, name_key, hostname, os_family, zone)
		values (?, ?, ?, ?, sha256(?::text::bytea), 'active', 'pc', 'pc', 'pc', 'linux', nullif(?, ''))`, p.tenant, id, p.site, p.token, id.String(), zone)
	return id
}

func on(devices ...uuid.UUID) fleet.Selector { return fleet.Selector{DeviceIDs: devices} }

func cron(text string) schedule.Recurrence { return schedule.Recurrence{Cron: text} }

var work = schedule.Work{Kind: "script.run", Payload: json.RawMessage(`{"interpreter":"bash","script":"true"}`)}

// daily is work of a tenant at nine, on the clocks of UTC.
func daily(tenant uuid.UUID, targets fleet.Selector) schedule.Definition {
	return schedule.Definition{TenantID: tenant, Name: "Nightly", Enabled: true, What: work, Targets: targets,
		Recurrence: cron("0 9 * * *"), ZoneMode: "UTC"}
}

func (h *house) staff() context.Context {
	return dbtest.Staff(h.t, "schedules.read", "schedules.manage")
}

func (h *house) create(d schedule.Definition) schedule.Schedule {
	h.t.Helper()
	made, err := h.s.Create(h.staff(), d)
	must(h.t, err)
	return made
}

// sweep does what the timetable does, until nothing is left to do now.
func (h *house) sweep() {
	h.t.Helper()
	for {
		n, err := h.s.SweepDue(dbtest.System(h.t))
		must(h.t, err)
		m, err := h.s.SweepRuns(dbtest.System(h.t))
		must(h.t, err)
		if n+m == 0 {
			return
		}
	}
}

// deviceIDs of an order, sorted.
func deviceIDs(o schedule.Order) (ids []uuid.UUID) {
	for _, t := range o.Devices {
		ids = append(ids, t.DeviceID)
	}
	return sorted(ids)
}

func sorted(ids []uuid.UUID) []uuid.UUID {
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	return ids
}

// ledger is what a schedule missed: nominal time, reason, whether caught up, earlier ones only counted.
func (h *house) ledger(id uuid.UUID) []string {
	h.t.Helper()
	return h.texts(`select nominal || ' ' || reason || case when device_id is null then '' else ' device' end ||
		case when caught_up_at is null then '' else ' caught up' end || case when earlier = 0 then '' else ' +' || earlier end
		from missed_runs where schedule_id = ? order by at, id`, id)
}

// runs are what a schedule fired.
func (h *house) runs(id uuid.UUID) []string {
	h.t.Helper()
	return h.texts(`select nominal || case when catch_up then ' late' else '' end || case when state = 'done' then '' else ' ' || state end
		from schedule_runs where schedule_id = ? order by at, id`, id)
}

func want(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func hours(day, from, to int) (list []string) {
	for hour := from; hour <= to; hour++ {
		list = append(list, fmt.Sprintf("2025-06-%02dT%02d:00", day, hour))
	}
	return list
}

func each(list []string, suffix string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s + suffix
	}
	return out
}

func dbUUID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func tenantWide(tenant uuid.UUID) fleet.Selector { return fleet.Selector{TenantID: &tenant} }
