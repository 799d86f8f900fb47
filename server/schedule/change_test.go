package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/schedule"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

func wantKind(t *testing.T, what string, err error, kind fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != kind {
		t.Errorf("%s: %v, not %s", what, err, kind)
	}
}

func pointers(err error) (list []string) {
	if f, ok := fault.As(err); ok {
		for _, x := range f.Fields {
			list = append(list, x.Pointer)
		}
	}
	slices.Sort(list)
	return list
}

func TestEveryFaultOfADefinitionIsNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p, q := h.place("UTC"), h.place("UTC")
	mine, foreign := h.device(p, ""), h.device(q, "")
	h.exec.check = func(s schedule.Schedule) (*uuid.UUID, error) {
		switch s.What.Kind {
		case "script.run":
			return nil, nil
		case "bad.payload":
			var f fault.Fields
			f.Add("/payload/script", "is required")
			f.Add("/payload/arguments/3", "is too long")
			return nil, f.Err()
		}
		return nil, fault.InvalidField("/kind", "is unknown")
	}
	for name, c := range map[string]struct {
		define func(d *schedule.Definition)
		want   []string
	}{
		"name":             {func(d *schedule.Definition) { d.Name = "  " }, []string{"/name"}},
		"cron":             {func(d *schedule.Definition) { d.Recurrence.Cron = "61 * * * *" }, []string{"/recurrence/cron"}},
		"never":            {func(d *schedule.Definition) { d.Recurrence = schedule.Recurrence{Once: "2020-01-01T00:00"} }, []string{"/recurrence"}},
		"zone":             {func(d *schedule.Definition) { d.ZoneMode = "Mars/Base" }, []string{"/zone"}},
		"policy":           {func(d *schedule.Definition) { d.CatchUp.Policy = "perhaps" }, []string{"/catch_up/policy"}},
		"jitter":           {func(d *schedule.Definition) { d.JitterSeconds = -1 }, []string{"/jitter_seconds"}},
		"window's start":   {func(d *schedule.Definition) { d.Window = window("0 2 * *", time.Hour) }, []string{"/window/recurrence/cron"}},
		"window too often": {func(d *schedule.Definition) { d.Window = window("*/10 * * * *", time.Hour) }, []string{"/window/recurrence"}},
		"window too short": {func(d *schedule.Definition) { d.Window = window("0 2 * * *", time.Minute) }, []string{"/window/duration_seconds"}},
		"window too long":  {func(d *schedule.Definition) { d.Window = window("0 2 * * *", 8*24*time.Hour) }, []string{"/window/duration_seconds"}},
		"window shorter than the work": {func(d *schedule.Definition) {
			d.Window, d.What.Payload = window("0 2 * * *", time.Hour), []byte(`{"timeout_seconds": 3600}`)
		}, []string{"/window/duration_seconds"}},
		"jitter out of the window": {func(d *schedule.Definition) { d.Window, d.JitterSeconds = window("0 2 * * *", time.Hour), 3600 }, []string{"/jitter_seconds"}},
		"no targets":               {func(d *schedule.Definition) { d.Targets.DeviceIDs = nil }, []string{"/targets"}},
		"all tenants": {func(d *schedule.Definition) { d.Targets.DeviceIDs, d.Targets.AllTenants = nil, true },
			[]string{"/targets/all_tenants"}},
		"another tenant": {func(d *schedule.Definition) { d.Targets = tenantWide(q.tenant) }, []string{"/targets/tenant_id"}},
		"another tenant's site": {func(d *schedule.Definition) { d.Targets.DeviceIDs, d.Targets.SiteID = nil, &q.site },
			[]string{"/targets/site_id"}},
		"another tenant's device": {func(d *schedule.Definition) { d.Targets = on(mine, foreign) }, []string{"/targets/device_ids"}},
		"payload":                 {func(d *schedule.Definition) { d.What.Kind = "bad.payload" }, []string{"/what/payload/arguments/3", "/what/payload/script"}},
		"kind":                    {func(d *schedule.Definition) { d.What.Kind = "unheard.of" }, []string{"/what/kind"}},
		"several": {func(d *schedule.Definition) { d.Name, d.ZoneMode, d.Recurrence = "", "", schedule.Recurrence{} },
			[]string{"/name", "/recurrence", "/zone"}},
	} {
		d := daily(p.tenant, on(mine))
		c.define(&d)
		_, err := h.s.Create(h.staff(), d)
		wantKind(t, name, err, fault.Invalid)
		want(t, name, pointers(err), c.want)
	}
	if n := h.count("select count(*) from schedules") + h.count("select count(*) from schedule_due"); n != 0 {
		t.Errorf("%d rows of refused schedules", n)
	}
}

func TestEveryFaultOfABlackoutIsNamed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	often := cron("* * * * *")
	for name, c := range map[string]struct {
		b    schedule.Blackout
		want []string
	}{
		"neither":     {schedule.Blackout{Zone: "UTC"}, []string{"/ends_local", "/starts_local"}},
		"backwards":   {freeze("2025-06-10T12:30", "2025-06-10T12:00"), []string{"/ends_local"}},
		"both":        {schedule.Blackout{Zone: "UTC", From: "2025-06-10T12:30", Start: &schedule.Recurrence{Cron: "0 2 * * *"}, DurationSeconds: 600}, []string{"/starts_local"}},
		"often":       {schedule.Blackout{Zone: "UTC", Start: &often, DurationSeconds: 600}, []string{"/recurrence"}},
		"cron":        {schedule.Blackout{Zone: "UTC", Start: &schedule.Recurrence{Cron: "x"}, DurationSeconds: 600}, []string{"/recurrence/cron"}},
		"length":      {schedule.Blackout{Zone: "UTC", Start: &schedule.Recurrence{Cron: "0 2 * * *"}}, []string{"/duration_seconds"}},
		"zone":        {schedule.Blackout{Zone: "device", From: "2025-06-10T12:30", Until: "2025-06-11T12:30"}, []string{"/zone"}},
		"length once": {schedule.Blackout{Zone: "UTC", From: "2025-06-10T12:30", Until: "2025-06-11T12:30", DurationSeconds: 60}, []string{"/duration_seconds"}},
	} {
		_, err := h.s.CreateBlackout(h.staff(), p.tenant, "Freeze", c.b)
		want(t, name, pointers(err), c.want)
	}
}

func TestAChangeKeepsWhatIsDueAndForgetsNoRun(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	d := daily(p.tenant, on(h.device(p, "")))
	d.CatchUp = asap()
	made := h.create(d)
	h.blackout(p.tenant, freeze("2025-06-11T08:00", "2025-06-11T10:00"))
	h.at("2025-06-11T09:00:00Z").sweep() // the run waits for the end of the blackout

	name := "Renamed"
	renamed, err := h.s.Update(h.staff(), made.ID, schedule.Change{Version: made.Version, Name: &name})
	must(t, err)
	if renamed.Version != made.Version+1 || renamed.Name != name {
		t.Errorf("%+v", renamed)
	}
	h.at("2025-06-11T10:00:00Z").sweep()
	want(t, "a new name changes no run", h.runs(made.ID), []string{"2025-06-11T09:00 late"})

	// The server is down at nine; somebody changes the hour before the sweep has seen it.
	h.at("2025-06-12T11:00:00Z")
	noon := cron("0 12 * * *")
	changed, err := h.s.Update(h.staff(), made.ID, schedule.Change{Version: renamed.Version, Recurrence: &noon})
	must(t, err)
	h.sweep()
	want(t, "what was due ran by what the schedule was", h.runs(made.ID), []string{"2025-06-11T09:00 late", "2025-06-12T09:00 late"})
	h.at("2025-06-12T12:00:00Z").sweep()

	// A run that waits when the times change is missed, and said so.
	h.blackout(p.tenant, freeze("2025-06-13T08:00", "2025-06-13T20:00"))
	h.at("2025-06-13T12:00:00Z").sweep()
	off := false
	changed, err = h.s.Update(h.staff(), made.ID, schedule.Change{Version: changed.Version, Enabled: &off})
	must(t, err)
	if changed.NextRunAt != nil {
		t.Error("it is due though it is off")
	}
	h.at("2025-06-15T12:00:00Z").sweep()
	on := true
	_, err = h.s.Update(h.staff(), made.ID, schedule.Change{Version: changed.Version, Enabled: &on})
	must(t, err)
	h.at("2025-06-16T12:00:00Z").sweep()
	want(t, "runs", h.runs(made.ID), []string{"2025-06-11T09:00 late", "2025-06-12T09:00 late", "2025-06-12T12:00", "2025-06-16T12:00"})
	want(t, "missed", h.ledger(made.ID), []string{"2025-06-11T09:00 blackout caught up", "2025-06-12T09:00 server caught up", "2025-06-13T12:00 blackout"})
}

func TestVersionsAndDeletion(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	made := h.create(daily(p.tenant, on(h.device(p, ""))))
	h.at("2025-06-11T09:00:00Z").sweep()
	name := "Other"
	_, err := h.s.Update(h.staff(), made.ID, schedule.Change{Version: 7, Name: &name})
	if !errors.Is(err, tenantdb.ErrStale) {
		t.Errorf("an old version: %v", err)
	}
	h.at("2025-06-12T09:00:00Z")
	drain(t, h.s.SweepDue)
	must(t, h.s.Delete(h.staff(), made.ID))
	h.sweep()
	if n := len(h.exec.orders()); n != 1 || h.exec.forgotten != 1 {
		t.Errorf("%d orders, of which one came before the end", n)
	}
	_, err = h.s.Get(h.staff(), made.ID)
	wantKind(t, "reading it", err, fault.NotFound)
	wantKind(t, "deleting it again", h.s.Delete(h.staff(), made.ID), fault.NotFound)
	runs, _, err := h.s.Runs(h.staff(), made.ID, "", 10)
	if err != nil || len(runs) != 2 || runs[0].State != "failed" || runs[0].Reason != "the schedule was deleted" || runs[1].Devices != 1 || runs[1].JobID == nil {
		t.Errorf("its runs: %+v, %v", runs, err)
	}
	log, err := audit.List(dbtest.Staff(t, "audit.read"), h.db, audit.Filter{TenantID: p.tenant, ObjectID: made.ID.String()})
	must(t, err)
	if len(log.Records) != 2 || log.Records[0].Action != "schedule.deleted" || log.Records[1].Action != "schedule.created" {
		t.Errorf("audit: %+v", log.Records)
	}
}

// A device of a list that was purged takes only itself out of the schedule.
func TestADeviceThatIsGoneTakesNoOtherWithIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	stays, goes := h.device(p, ""), h.device(p, "")
	made := h.create(daily(p.tenant, on(stays, goes)))
	h.exec1("delete from devices where id = ?", goes)
	h.at("2025-06-11T09:00:00Z").sweep()
	if orders := h.exec.orders(); len(orders) != 1 || len(orders[0].Devices) != 1 || orders[0].Devices[0].DeviceID != stays {
		t.Errorf("orders %+v", orders)
	}
	name := "Still changeable"
	if _, err := h.s.Update(h.staff(), made.ID, schedule.Change{Version: made.Version, Name: &name}); err != nil {
		t.Error(err)
	}
	h.exec1("delete from devices where id = ?", stays)
	h.at("2025-06-12T09:00:00Z").sweep()
	want(t, "why", h.texts("select reason from schedule_runs order by id"), []string{"", "no device was chosen by the targets"})
}

// A second person's yes counts for the work and the targets that were shown, and for nothing else.
func TestConsentIsBoundToWhatWasAgreed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	device := h.device(p, "")
	asked := dbUUID()
	h.exec1(`insert into approvals (tenant_id, id, kind, summary, subject_type, subject_id, requested_by, requested_by_name, expires_at)
		values (?, ?, 'blast_radius', 'x', 'schedule', ?, ?, '', now())`, p.tenant, asked, dbUUID(), dbUUID())
	h.exec.check = func(s schedule.Schedule) (*uuid.UUID, error) {
		if s.Approved > 0 {
			return s.ApprovalID, nil
		}
		return &asked, nil
	}
	made := h.create(daily(p.tenant, on(device)))
	approved := func() int { return h.count("select approved_devices from schedules where id = ?", made.ID) }
	decide := func(id uuid.UUID, state tenants.ApprovalState) {
		h.system(func(tx *gorm.DB) error {
			return h.s.DecidedTx(tx, tenants.Approval{ID: id, TenantID: p.tenant, SubjectID: made.ID, State: state, Detail: map[string]any{"devices": 12.0}})
		})
	}
	decide(asked, tenants.Rejected)
	decide(dbUUID(), tenants.Approved)
	if approved() != 0 {
		t.Error("a no, or a yes to something else, counts")
	}
	decide(asked, tenants.Approved)
	if approved() != 12 {
		t.Errorf("agreed to %d", approved())
	}
	name := "Renamed"
	same := schedule.Work{Kind: work.Kind, Payload: []byte(`{ "script": "true", "interpreter": "bash" }`)}
	changed, err := h.s.Update(h.staff(), made.ID, schedule.Change{Version: 1, Name: &name, What: &same})
	must(t, err)
	if approved() != 12 || h.exec.forgotten != 0 {
		t.Error("a new name needs no new consent")
	}
	other := dbtest.Staff(t, "schedules.manage", "schedules.read")
	evil := schedule.Work{Kind: work.Kind, Payload: []byte(`{"interpreter": "bash", "script": "rm -rf /"}`)}
	changed, err = h.s.Update(other, made.ID, schedule.Change{Version: changed.Version, What: &evil})
	must(t, err)
	if approved() != 0 || h.exec.forgotten != 1 || changed.Answers != uuid.UUID(scope.From(other).Actor.ID) {
		t.Errorf("other work goes under the old consent for %d devices", approved())
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	a, b, c := h.place("UTC"), h.place("UTC"), h.place("UTC")
	of := map[string]schedule.Schedule{}
	freezes := map[string]schedule.StoredBlackout{}
	devices := map[string]uuid.UUID{}
	for name, p := range map[string]place{"a": a, "b": b, "c": c} {
		devices[name] = h.device(p, "")
		of[name] = h.create(daily(p.tenant, on(devices[name])))
		freezes[name] = h.blackout(p.tenant, freeze("2025-07-10T12:30", "2025-07-20T14:30"))
	}
	of["provider"] = h.create(daily(provider, on(devices["a"], devices["b"])))
	freezes["provider"] = h.blackout(provider, freeze("2025-07-10T12:30", "2025-07-20T14:30"))
	h.at("2025-06-12T12:00:00Z").sweep() // all were missed

	some := scope.From(dbtest.Granted(t, []scope.ID{a.tenant, b.tenant}, "schedules.read"))
	some.Grants = []scope.Grant{{TenantID: a.tenant, Permissions: []string{"schedules.read", "schedules.manage"}}, {TenantID: b.tenant, Permissions: []string{"devices.read"}}}
	narrow := scope.From(dbtest.Staff(t))
	narrow.Grants = []scope.Grant{{TenantID: c.tenant, Permissions: []string{"schedules.read", "schedules.manage"}}}
	for who, x := range map[string]struct {
		ctx                            context.Context
		reads, changes, holds, unholds []string
	}{
		"staff":                    {h.staff(), []string{"a", "b", "c", "provider"}, []string{"a", "b", "c", "provider"}, []string{"a", "b", "c", "provider"}, []string{"a", "b", "c", "provider"}},
		"reader":                   {dbtest.Staff(t, "schedules.read"), []string{"a", "b", "c", "provider"}, nil, []string{"a", "b", "c", "provider"}, nil},
		"somebody of tenant a":     {dbtest.Tenant(t, a.tenant, "schedules.read", "schedules.manage"), []string{"a"}, []string{"a"}, []string{"a", "provider"}, []string{"a"}},
		"a and, for devices, b":    {scope.With(t.Context(), some), []string{"a"}, []string{"a"}, []string{"a", "provider"}, []string{"a"}},
		"staff with a grant for c": {scope.With(t.Context(), narrow), []string{"c"}, []string{"c"}, []string{"c", "provider"}, []string{"c"}},
		"nobody's grants":          {dbtest.Staff(t, "devices.read"), nil, nil, []string{"provider"}, nil},
	} {
		list, _, err := h.s.List(x.ctx, schedule.Filter{}, "", 100)
		must(t, err)
		blackouts, _, err := h.s.Blackouts(x.ctx, nil, "", 100)
		must(t, err)
		missed, _, err := h.s.Missed(x.ctx, schedule.MissedFilter{}, "", 100)
		must(t, err)
		var listed, held, ledger []string
		for name, s := range of {
			if slices.ContainsFunc(list, func(l schedule.Schedule) bool { return l.ID == s.ID && l.Missed > 0 }) {
				listed = append(listed, name)
			}
			if slices.ContainsFunc(blackouts, func(l schedule.StoredBlackout) bool { return l.ID == freezes[name].ID }) {
				held = append(held, name)
			}
			if slices.ContainsFunc(missed, func(m schedule.MissedRun) bool { return m.ScheduleID == s.ID }) {
				ledger = append(ledger, name)
			}
			_, getErr := h.s.Get(x.ctx, s.ID)
			_, _, runsErr := h.s.Runs(x.ctx, s.ID, "", 10)
			if reads := slices.Contains(x.reads, name); (getErr == nil) != reads || (runsErr == nil) != reads || !reads && fault.KindOf(getErr) != fault.NotFound {
				t.Errorf("%s reads %s: %v, its runs: %v", who, name, getErr, runsErr)
			}
			may := slices.Contains(x.changes, name)
			current := h.count("select version from schedules where id = ?", s.ID)
			next := "Changed by " + who
			_, err := h.s.Update(x.ctx, s.ID, schedule.Change{Version: int64(current), Name: &next})
			if kind := fault.KindOf(err); (err == nil) != may || !may && kind != fault.NotFound && kind != fault.Forbidden {
				t.Errorf("%s changes %s: %v", who, name, err)
			}
			tenant := s.TenantID
			_, err = h.s.Create(x.ctx, daily(tenant, s.Targets))
			if (err == nil) != may {
				t.Errorf("%s adds to %s: %v", who, name, err)
			}
			b, err := h.s.CreateBlackout(x.ctx, tenant, "Another", freeze("2025-07-10T12:30", "2025-07-20T14:30"))
			if (err == nil) != slices.Contains(x.unholds, name) {
				t.Errorf("%s holds %s: %v", who, name, err)
			}
			if err == nil {
				must(t, h.s.DeleteBlackout(x.ctx, b.ID))
			} else if err := h.s.DeleteBlackout(x.ctx, freezes[name].ID); err == nil {
				t.Errorf("%s takes back the blackout of %s", who, name)
			}
		}
		slices.Sort(listed)
		slices.Sort(held)
		slices.Sort(ledger)
		want(t, who+" lists", listed, x.reads)
		want(t, who+" sees blackouts of", held, x.holds)
		want(t, who+" sees what was missed by", ledger, x.reads)
	}
	// Pages follow on each other, whatever their size.
	var names []string
	for cursor := ""; ; {
		page, next, err := h.s.List(h.staff(), schedule.Filter{TenantID: &a.tenant}, cursor, 2)
		must(t, err)
		for _, s := range page {
			names = append(names, s.Name+s.ID.String())
		}
		if cursor = next; next == "" {
			break
		}
	}
	if !slices.IsSortedFunc(names, func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) }) ||
		len(names) != h.count("select count(*) from schedules where tenant_id = ?", a.tenant) {
		t.Errorf("pages: %v", names)
	}
}

// Rows that somebody writes with the reach of another tenant, past this package, lead to no device but
// that tenant's own.
func TestTamperedRowsReachNobodyElse(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	victim, attacker := h.place("UTC"), h.place("UTC")
	theirs, own := h.device(victim, ""), h.device(attacker, "")
	aim := h.create(daily(victim.tenant, on(theirs)))
	wide := h.create(daily(provider, on(theirs)))
	mine := h.create(daily(attacker.tenant, on(own)))
	as := func(sql string, args ...any) error {
		return h.db.Tx(dbtest.Tenant(t, attacker.tenant, "schedules.manage"), func(tx *gorm.DB) error { return tx.Exec(sql, args...).Error })
	}
	// The same ids once more, in the attacker's tenant, aimed at everybody.
	for _, s := range []schedule.Schedule{aim, wide} {
		must(t, as(`insert into schedules (tenant_id, id, name, name_key, enabled, kind, payload, targets, recurrence, zone_mode, catch_up, created_by_name)
			select tenant_id, ?, 'Evil', 'evil', true, kind, payload, '{"all_tenants": true}', recurrence, zone_mode, catch_up, '' from schedules where id = ?`, s.ID, mine.ID))
		must(t, as(`insert into schedule_due (tenant_id, schedule_id, zone, wake_at, through) values (?, ?, 'UTC', ?, ?)`,
			attacker.tenant, s.ID, instant(t, "2025-06-11T09:00:00Z"), h.time()))
	}
	must(t, as("update schedules set targets = ? where id = ?", fmt.Sprintf(`{"device_ids": ["%s", "%s"]}`, theirs, own), mine.ID))
	for name, sql := range map[string]string{
		"a run of somebody else's schedule": fmt.Sprintf(`insert into schedule_runs (tenant_id, id, schedule_id, zone, key, nominal, fold, at, catch_up)
			values ('%s', gen_random_uuid(), '%s', '', 'x', '2025-06-11T09:00', 0, now(), false)`, victim.tenant, aim.ID),
		"due somewhere else": fmt.Sprintf(`insert into schedule_due (tenant_id, schedule_id, zone, through) values ('%s', '%s', 'Asia/Tokyo', now())`, provider, wide.ID),
		"a miss of somebody else": fmt.Sprintf(`insert into missed_runs (tenant_id, id, schedule_id, zone, key, nominal, at, reason)
			values ('%s', gen_random_uuid(), '%s', '', 'x', 'x', now(), 'server')`, victim.tenant, aim.ID),
	} {
		if as(sql) == nil {
			t.Error(name + " can be written")
		}
	}
	h.at("2025-06-11T09:00:00Z").sweep()
	reached := map[uuid.UUID][]uuid.UUID{}
	for _, o := range h.exec.orders() {
		for _, d := range o.Devices {
			reached[o.Schedule.TenantID] = append(reached[o.Schedule.TenantID], d.DeviceID)
			if o.Schedule.Name == "Evil" && d.TenantID != attacker.tenant {
				t.Errorf("the forged schedule reaches %+v", d)
			}
		}
	}
	for tenant, devices := range map[uuid.UUID][]uuid.UUID{victim.tenant: {theirs}, provider: {theirs}, attacker.tenant: {own, own, own}} {
		if !slices.Equal(reached[tenant], devices) {
			t.Errorf("schedules of %s reached %v, not %v", tenant, reached[tenant], devices)
		}
	}
	// What the attacker's run did not do cannot be told of a device of the victim.
	job := dbUUID()
	must(t, as("update schedule_runs set job_id = ? where schedule_id = ?", job, mine.ID))
	h.system(func(tx *gorm.DB) error {
		return schedule.MissTx(tx, schedule.MissedOffline, []schedule.Superseded{{JobID: job, DeviceID: theirs}, {JobID: job, DeviceID: own}})
	})
	if n := h.count("select count(*) from missed_runs where tenant_id = ?", victim.tenant); n != 0 {
		t.Errorf("%d misses were forged", n)
	}
	if n := h.count("select count(*) from missed_runs where device_id = ?", own); n != 1 {
		t.Errorf("%d true misses", n)
	}
}

func TestOldRunsAreForgotten(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	made := h.create(daily(p.tenant, on(h.device(p, ""))))
	gone := h.create(daily(p.tenant, on(h.device(p, ""))))
	h.at("2025-06-11T09:00:00Z").sweep()
	h.at("2025-06-13T08:00:00Z").sweep() // one is missed
	must(t, h.s.Delete(h.staff(), gone.ID))
	tables := []string{"schedule_occurrences", "schedule_runs", "missed_runs", "schedules"}
	rows := func() (list []string) {
		for _, table := range tables {
			list = append(list, fmt.Sprint(h.count("select count(*) from "+table)))
		}
		return list
	}
	want(t, "before", rows(), []string{"2", "2", "2", "2"})
	h.set(time.Now().AddDate(0, 0, 399)) // ids and the end of a schedule are on the real clock
	drain(t, h.s.SweepOld)
	want(t, "after 399 days", rows(), []string{"2", "2", "2", "2"})
	h.set(time.Now().AddDate(0, 0, 401))
	drain(t, h.s.SweepOld)
	want(t, "after 401 days", rows(), []string{"0", "0", "0", "1"})
	if _, err := h.s.Get(h.staff(), made.ID); err != nil {
		t.Error(err)
	}
}

// What earlier runs left waiting for a device is noted once, for the device, when a newer run comes.
func TestWhatANewerRunReplacesIsMissed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	p := h.place("UTC")
	device := h.device(p, "")
	d := daily(p.tenant, on(device))
	d.CatchUp = asap()
	made := h.create(d)
	h.at("2025-06-11T09:00:00Z").sweep()
	job := uuid.MustParse(h.texts("select job_id from schedule_runs")[0])
	h.exec.superseded = []schedule.Superseded{{JobID: job, DeviceID: device}}
	h.at("2025-06-12T09:00:00Z").sweep()
	h.exec.superseded = []schedule.Superseded{{JobID: uuid.MustParse(h.texts("select job_id from schedule_runs order by id desc")[0])}}
	h.at("2025-06-13T09:00:00Z").sweep()
	want(t, "missed", h.ledger(made.ID), []string{"2025-06-11T09:00 offline device", "2025-06-12T09:00 queue"})
	want(t, "runs", h.runs(made.ID), []string{"2025-06-11T09:00", "2025-06-12T09:00", "2025-06-13T09:00"})
}
