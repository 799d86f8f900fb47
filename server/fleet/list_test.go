package fleet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
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

func names(page fleet.Page) string {
	var list []string
	for _, d := range page.Items {
		list = append(list, d.Name)
	}
	return strings.Join(list, " ")
}

func TestListPagesInEveryOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.devices(t, 11, "PC-%02d")
	w.devices(t, 6, "pc-%02d") // the same names in other letter case
	for _, sort := range []string{"", "name", "-name", "enrolled_at", "-enrolled_at", "os_name", "-os_name"} {
		var seen []uuid.UUID
		q := fleet.Query{Sort: sort, Limit: 4}
		for pages := 0; ; pages++ {
			page, err := w.List(staff(t), q)
			if err != nil || pages > 10 {
				t.Fatalf("%s: page %d, %v", sort, pages, err)
			}
			for _, d := range page.Items {
				seen = append(seen, d.ID)
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		slices.SortFunc(seen, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
		if len(seen) != 17 || len(slices.Compact(seen)) != 17 {
			t.Errorf("%s: %d rows", sort, len(seen))
		}
	}
	_, err := w.List(staff(t), fleet.Query{Sort: "password"})
	wantKind(t, err, fault.Invalid)
	page, err := w.List(staff(t), fleet.Query{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.List(staff(t), fleet.Query{Limit: 2, Cursor: page.Next, Sort: "-name"})
	wantKind(t, err, fault.Invalid)
}

// counted opens the world's database again with a log that counts statements.
func counted(t testing.TB) (*world, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	w := &world{}
	var err error
	w.db, err = tenantdb.Open(t.Context(), tenantdb.Options{URL: dbtest.NewURLs(t).App, SlowQuery: time.Nanosecond, Log: slog.New(counter{slog.DiscardHandler, &n})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.db.Close() })
	w.Service = fleet.New(fleet.Options{DB: w.db, Log: dbtest.Log(t), Tokens: plainTokens})
	w.tenant, w.site = w.newTenant(t, "acme")
	return w, &n
}

type counter struct {
	slog.Handler
	n *atomic.Int64
}

func (c counter) Enabled(context.Context, slog.Level) bool { return true }
func (c counter) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "slow query" {
		c.n.Add(1)
	}
	return nil
}

func TestStatementsDoNotGrowWithRows(t *testing.T) {
	t.Parallel()
	w, n := counted(t)
	cost := func(act func() error) int64 {
		t.Helper()
		before := n.Load()
		if err := act(); err != nil {
			t.Fatal(err)
		}
		return n.Load() - before
	}
	filter := `{"all":[{"field":"name","op":"prefix","value":"pc"},{"field":"tag","op":"has","value":"a"}]}`
	text := "pc"
	var all []uuid.UUID
	measure := func() map[string]int64 {
		return map[string]int64{
			"list": cost(func() error {
				_, err := w.List(staff(t), fleet.Query{WithTotal: true, Filter: &filter, Text: &text, Limit: 200})
				return err
			}),
			"tags": cost(func() error {
				_, err := w.TagMany(staff(t), all, fleet.TagChange{Add: []string{uuid.NewString()[:8]}})
				return err
			}),
			"resolve": cost(func() error {
				return w.db.Tx(staff(t), func(tx *gorm.DB) error {
					_, err := w.ResolveTx(tx, fleet.Selector{DeviceIDs: all})
					return err
				})
			}),
			"timeline": cost(func() error { _, _, err := w.Timeline(staff(t), all[0], nil, "", 200); return err }),
		}
	}
	all = w.devices(t, 3, "pc-%d", "a")
	few := measure()
	all = append(all, w.devices(t, 60, "pc-x%d", "a")...)
	many := measure()
	if fmt.Sprint(few) != fmt.Sprint(many) || few["list"] > 3 {
		t.Errorf("with 3 devices %v, with 63 %v", few, many)
	}
}

func TestPresenceInSQLIsPresenceInGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	device := w.devices(t, 1, "pc-%d")[0]
	var now time.Time
	ago := func(seconds float64) *time.Time {
		at := now.Add(-time.Duration(seconds * float64(time.Second)))
		return &at
	}
	for _, interval := range []int{60, 300} {
		for _, since := range []float64{10, 100, 170, 190, 1000, 100000} {
			for _, before := range []float64{20, 500, 5000, 100000} {
				for _, silent := range []float64{-1, 0, 50, 88, 92, 178, 182, 400, 460, 880, 920, 6000} {
					for _, gone := range []bool{false, true} {
						l := fleet.Listening{}
						var want fleet.Presence
						s := fleet.New(fleet.Options{DB: w.db, Listening: func() fleet.Listening { return l }})
						var got fleet.Presence
						w.system(t, func(tx *gorm.DB) error {
							now = tenantdb.Now(tx)
							l = fleet.Listening{Since: *ago(since), Before: *ago(since + before)}
							sight := fleet.Sighting{Gone: gone, Interval: time.Duration(interval) * time.Second}
							if silent >= 0 {
								sight.LastSeen = ago(silent)
							}
							want = sight.Presence(now, l)
							err := tx.Exec("update device_presence set last_seen = ?, gone = ?, interval_seconds = ?", sight.LastSeen, gone, interval).Error
							if err != nil {
								return err
							}
							got, err = s.PresenceTx(tx, device)
							return err
						})
						if got != want {
							t.Fatalf("interval %d, since %g, before %g, silent %g, gone %v: %s in SQL, %s in Go", interval, since, before, silent, gone, got, want)
						}
					}
				}
			}
		}
	}
}

func TestPresenceRule(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) *time.Time { v := now.Add(-time.Duration(seconds) * time.Second); return &v }
	long := fleet.Listening{Since: *at(10_000)}
	fresh := fleet.Listening{Since: *at(30), Before: *at(600)}
	for _, c := range []struct {
		name string
		last *time.Time
		gone bool
		l    fleet.Listening
		want fleet.Presence
	}{
		{"never heard", nil, false, long, fleet.Never}, {"just heard", at(5), false, long, fleet.Online},
		{"just before 1.5 intervals", at(89), false, long, fleet.Online}, {"at 1.5 intervals", at(90), false, long, fleet.Overdue},
		{"just before 3 intervals", at(179), false, long, fleet.Overdue}, {"at 3 intervals", at(180), false, long, fleet.Offline},
		{"said goodbye", at(1), true, long, fleet.Offline},
		{"silent while the server was down", at(620), false, fresh, fleet.Online}, {"gone long before the server was", at(900), false, fresh, fleet.Offline},
	} {
		s := fleet.Sighting{LastSeen: c.last, Gone: c.gone, Interval: time.Minute}
		if got := s.Presence(now, c.l); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// machineFacts is what the filter oracle knows of a device.
type machineFacts struct {
	name, os, tag, software, serial string
	field                           string // custom
}

func TestFiltersAgainstAnOracle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	random := rand.New(rand.NewPCG(7, 7))
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	facts := map[uuid.UUID]machineFacts{}
	fieldID := newID()
	w.exec(t, "insert into custom_field_definitions (tenant_id, id, key, label, applies_to, type) values (?, ?, 'rack', 'Rack', 'device', 'text')", w.tenant, fieldID)
	for i, id := range w.devices(t, 40, "host-%02d") {
		f := machineFacts{name: fmt.Sprintf("host-%02d", i), os: pick("Debian 12", "Windows 11", "debian 13"), tag: pick("", "prod", "test"),
			software: pick("", "OpenSSL", "bash"), serial: pick("", "SN-1", "SN-2"), field: pick("", "a1", "b2")}
		facts[id] = f
		w.system(t, func(tx *gorm.DB) error {
			sections := []fleet.Section{
				{TenantID: w.tenant, DeviceID: id, Name: "os", Hash: "1", CollectedAt: time.Now(), Data: map[string]any{"name": f.os}},
				{TenantID: w.tenant, DeviceID: id, Name: "hardware", Hash: "1", CollectedAt: time.Now(), Data: map[string]any{"serial": f.serial}},
				{TenantID: w.tenant, DeviceID: id, Name: "software", Hash: "1", CollectedAt: time.Now(), Data: map[string]any{"packages": []any{map[string]any{"name": f.software}}}}}
			if err := fleet.ApplySectionsTx(tx, sections); err != nil {
				return err
			}
			if f.field == "" {
				return nil
			}
			return tx.Exec("insert into custom_field_values (tenant_id, object_type, object_id, field_id, field_tenant_id, key, value) values (?, 'device', ?, ?, ?, 'rack', ?)",
				w.tenant, id, fieldID, w.tenant, f.field).Error
		})
		if f.tag != "" {
			if _, err := w.Tag(staff(t), id, fleet.TagChange{Add: []string{f.tag}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	byRack := `{"any":[{"all":[{"field":"custom_field","key":"rack","op":"set"}]}]}`
	if page, err := w.List(dbtest.Staff(t, "devices.read"), fleet.Query{Filter: &byRack}); err != nil || len(page.Items) != 0 {
		t.Errorf("who may not read custom fields cannot ask for them: %d devices, %v", len(page.Items), err)
	}
	for range 300 {
		filter, holds := randomGroup(random, 1)
		text, err := json.Marshal(filter)
		if err != nil {
			t.Fatal(err)
		}
		query := string(text)
		page, err := w.List(dbtest.Staff(t, "devices.read", "custom_fields.read"), fleet.Query{Filter: &query, Limit: 200})
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		got := map[uuid.UUID]bool{}
		for _, d := range page.Items {
			got[d.ID] = true
		}
		for id, f := range facts {
			if got[id] != holds(f) {
				t.Fatalf("%s: %+v is in the list: %v", query, f, got[id])
			}
		}
	}
}

func randomGroup(r *rand.Rand, depth int) (fleet.Filter, func(machineFacts) bool) {
	var terms []fleet.Term
	var checks []func(machineFacts) bool
	for range 1 + r.IntN(3) {
		if depth < 3 && r.IntN(3) == 0 {
			group, check := randomGroup(r, depth+1)
			terms, checks = append(terms, fleet.Term{All: group.All, Any: group.Any}), append(checks, check)
			continue
		}
		term, check := randomTerm(r)
		terms, checks = append(terms, term), append(checks, check)
	}
	if r.IntN(2) == 0 {
		return fleet.Filter{All: terms}, func(f machineFacts) bool {
			return !slices.ContainsFunc(checks, func(c func(machineFacts) bool) bool { return !c(f) })
		}
	}
	return fleet.Filter{Any: terms}, func(f machineFacts) bool {
		return slices.ContainsFunc(checks, func(c func(machineFacts) bool) bool { return c(f) })
	}
}

func randomTerm(r *rand.Rand) (fleet.Term, func(machineFacts) bool) {
	kinds := []struct {
		field  string
		of     func(machineFacts) string
		ops    []string
		values []string
		fold   bool
	}{
		{"name", func(f machineFacts) string { return f.name }, []string{"eq", "ne", "in", "prefix", "contains", "set", "unset"}, []string{"HOST-01", "host-1", "t-0", "x"}, true},
		{"os_name", func(f machineFacts) string { return f.os }, []string{"eq", "ne", "in", "prefix", "contains"}, []string{"Debian 12", "debian", "win", "1"}, true},
		{"serial", func(f machineFacts) string { return f.serial }, []string{"eq", "ne", "set", "unset", "prefix"}, []string{"sn-1", "SN"}, true},
		{"tag", func(f machineFacts) string { return f.tag }, []string{"has", "lacks", "in", "set", "unset", "prefix"}, []string{"prod", "Prod", "te"}, false},
		{"software", func(f machineFacts) string { return f.software }, []string{"has", "lacks", "prefix", "contains"}, []string{"openssl", "Bash", "ss"}, true},
		{"custom_field", func(f machineFacts) string { return f.field }, []string{"eq", "ne", "in", "prefix", "contains", "set", "unset"}, []string{"a1", "b", "A1"}, false},
	}
	k := kinds[r.IntN(len(kinds))]
	op, value := k.ops[r.IntN(len(k.ops))], k.values[r.IntN(len(k.values))]
	term := fleet.Term{Field: k.field, Op: op, Value: value}
	if k.field == "custom_field" {
		term.Key = "rack"
	}
	switch op {
	case "in":
		term.Value = []any{value, "nothing"}
	case "set", "unset":
		term.Value = nil
	}
	fold := func(s string) string {
		if k.fold {
			return strings.ToLower(s)
		}
		return s
	}
	return term, func(f machineFacts) bool {
		have, want := fold(k.of(f)), fold(value)
		switch op {
		case "eq", "has", "in":
			return have == want
		case "ne", "lacks":
			return have != want
		case "prefix":
			return have != "" && strings.HasPrefix(have, want)
		case "contains":
			return have != "" && strings.Contains(have, want)
		case "set":
			return have != ""
		}
		return have == ""
	}
}

func TestSearchFindsSubstringsOfNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.devices(t, 3, "srv-berlin-%d.example")
	w.devices(t, 2, "wks-paris-%d")
	for q, want := range map[string]string{"berlin": "srv-berlin-0.example srv-berlin-1.example srv-berlin-2.example", "ARIS-1": "wks-paris-1", "erlin debian": "srv-berlin-0.example srv-berlin-1.example srv-berlin-2.example",
		"berlin paris": "", "%": "", "_": "", "'": "", "-0": "srv-berlin-0.example wks-paris-0"} {
		page, err := w.List(staff(t), fleet.Query{Text: &q})
		if err != nil || names(page) != want {
			t.Errorf("%q: %s, %v", q, names(page), err)
		}
	}
}

func TestForeignDevicesAreNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own := w.devices(t, 1, "secret-%d", "topsecret")[0]
	other, otherSite := w.newTenant(t, "other")
	all := []string{"devices.read", "devices.manage", "devices.approve", "devices.enrol"}
	filter, err := w.SaveFilter(staff(t), "Mine", true, fleet.Filter{All: []fleet.Term{{Field: "name", Op: "set"}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{"tenant": dbtest.Tenant(t, other, all...), "granted": dbtest.Granted(t, []scope.ID{other}, all...)} {
		for verb, act := range map[string]func() error{
			"read":      func() error { _, err := w.Device(ctx, own); return err },
			"update":    func() error { _, err := w.Update(ctx, own, fleet.DeviceChange{Version: 1}); return err },
			"retire":    func() error { _, err := w.Retire(ctx, own, fleet.Move{Version: 1}); return err },
			"approve":   func() error { _, err := w.Approve(ctx, own, fleet.Move{Version: 1}); return err },
			"tag":       func() error { _, err := w.Tag(ctx, own, fleet.TagChange{Add: []string{"x"}}); return err },
			"inventory": func() error { _, err := w.Inventory(ctx, own); return err },
			"timeline":  func() error { _, _, err := w.Timeline(ctx, own, nil, "", 0); return err },
			"software":  func() error { _, _, err := w.Software(ctx, own, nil, "", 0); return err },
			"changes":   func() error { _, _, err := w.Changes(ctx, own, nil, "", 0); return err },
			"token": func() error {
				_, _, _, err := w.CreateToken(ctx, fleet.NewToken{TenantID: w.tenant, SiteID: w.site})
				return err
			},
			"mixed site": func() error {
				_, _, _, err := w.CreateToken(ctx, fleet.NewToken{TenantID: other, SiteID: w.site})
				return err
			},
			"target": func() error {
				return w.db.Tx(ctx, func(tx *gorm.DB) error {
					_, err := w.ResolveTx(tx, fleet.Selector{DeviceIDs: []uuid.UUID{own}})
					return err
				})
			},
			"target tenant": func() error {
				return w.db.Tx(ctx, func(tx *gorm.DB) error {
					_, err := w.ResolveTx(tx, fleet.Selector{TenantID: &w.tenant})
					return err
				})
			},
		} {
			if err := act(); fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s, %s: %v", name, verb, err)
			}
		}
		page, err := w.List(ctx, fleet.Query{WithTotal: true})
		if err != nil || len(page.Items) != 0 || *page.Total != 0 {
			t.Errorf("%s: %+v, %v", name, page, err)
		}
		if tags, err := w.Tags(ctx, nil); err != nil || len(tags) != 0 {
			t.Errorf("%s: %+v, %v", name, tags, err)
		}
	}
	// The provider's shared filter is for the provider's people only.
	if list, err := w.SavedFilters(dbtest.Tenant(t, other, all...)); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	wantKind(t, w.DeleteFilter(dbtest.Tenant(t, other, all...), filter.ID), fault.NotFound)
	if list, err := w.SavedFilters(dbtest.Granted(t, []scope.ID{other}, all...)); err != nil || len(list) != 1 || list[0].Own {
		t.Errorf("%+v, %v", list, err)
	}
	wantKind(t, w.DeleteFilter(staff(t), filter.ID), fault.Forbidden) // another person of the provider
	// Of a device and a site, one foreign is enough.
	_, err = w.Update(staff(t), own, fleet.DeviceChange{Version: 1, SiteID: &otherSite})
	wantKind(t, err, fault.Invalid)
	// Seen but not permitted.
	_, err = w.Update(dbtest.Staff(t, "devices.read"), own, fleet.DeviceChange{Version: 1})
	wantKind(t, err, fault.Forbidden)
	if page, err := w.List(dbtest.Staff(t, "devices.manage"), fleet.Query{}); err != nil || len(page.Items) != 0 {
		t.Errorf("without the permission to read: %+v, %v", page, err)
	}
}

func TestLifeOfADevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(t, "update tenants set enrolment_approval = true where id = ?", w.tenant)
	id := w.devices(t, 1, "pc-%d")[0]
	move := func(act func(context.Context, uuid.UUID, fleet.Move) (fleet.Device, error), want fleet.State) {
		t.Helper()
		d, err := w.Device(staff(t), id)
		if err != nil {
			t.Fatal(err)
		}
		d, err = act(staff(t), id, fleet.Move{Version: d.Version, Reason: "because"})
		if want == "" {
			wantKind(t, err, fault.Conflict)
			return
		}
		if err != nil || d.State != want {
			t.Fatalf("%s, %v; want %s", d.State, err, want)
		}
	}
	move(w.Quarantine, "")
	move(w.Release, "")
	move(w.Approve, fleet.Active)
	move(w.Approve, "")
	move(w.Quarantine, fleet.Quarantined)
	move(w.Release, fleet.Active)
	_, err := w.Retire(staff(t), id, fleet.Move{Version: 1})
	wantKind(t, err, fault.Conflict)
	move(w.Retire, fleet.Retired)
	move(w.Retire, "")
	move(w.Release, "")
	if len(w.rang) != 4 {
		t.Errorf("replicas were told %d times", len(w.rang))
	}
	page, err := w.List(staff(t), fleet.Query{})
	if err != nil || len(page.Items) != 0 {
		t.Errorf("retired devices are listed only when asked for: %+v, %v", page, err)
	}
}
