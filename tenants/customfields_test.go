package tenants_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"pgregory.net/rapid"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

func define(t *testing.T, s *tenants.CustomFields, tenant uuid.UUID, on tenants.ObjectType, key string, kind tenants.FieldType, options ...string) tenants.Field {
	t.Helper()
	return must[tenants.Field](t)(s.Define(dbtest.Staff(t, everything...), tenants.NewField{TenantID: tenant, Key: key,
		Label: strings.ToUpper(key), AppliesTo: on, Type: kind, Options: options}))
}

func valueOf(values []tenants.Value, key string) tenants.Value {
	for _, v := range values {
		if v.Field.Key == key {
			return v
		}
	}
	return tenants.Value{}
}

func TestCustomFieldValues(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewCustomFields(db, newKeeper(t, db))
	acme := addTenant(t, db, "Acme")
	site := addSite(t, db, acme.ID, "Berlin")
	device := tenants.Object{Type: tenants.OnDevice, ID: addDevice(t, db, site)}
	define(t, s, scope.Provider, tenants.OnDevice, "rack", tenants.FieldText)
	define(t, s, acme.ID, tenants.OnDevice, "price", tenants.FieldNumber)
	define(t, s, scope.Provider, tenants.OnDevice, "critical", tenants.FieldBoolean)
	define(t, s, scope.Provider, tenants.OnDevice, "bought", tenants.FieldDate)
	define(t, s, scope.Provider, tenants.OnDevice, "tier", tenants.FieldChoice, "gold", "silver")
	define(t, s, scope.Provider, tenants.OnDevice, "wiki", tenants.FieldURL)
	define(t, s, scope.Provider, tenants.OnSite, "floor", tenants.FieldNumber)

	_, err := s.SetValues(ctx, device, map[string]any{"rack": 5, "price": "12", "critical": "yes", "bought": "2025-02-30", "tier": "bronze",
		"wiki": "javascript:alert(1)", "floor": 1.0, "a/b~c": "x"})
	f, _ := fault.As(err)
	var pointers []string
	if f != nil {
		for _, x := range f.Fields {
			pointers = append(pointers, x.Pointer)
		}
	}
	if got := strings.Join(pointers, " "); got != "/values/a~1b~0c /values/bought /values/critical /values/floor /values/price /values/rack /values/tier /values/wiki" {
		t.Errorf("faults at %s", got)
	}

	values := must[[]tenants.Value](t)(s.SetValues(ctx, device, map[string]any{"rack": "R1", "price": 12.50, "critical": true,
		"bought": "2025-02-28", "tier": "gold", "wiki": "https://wiki.example/x"}))
	if len(values) != 6 || valueOf(values, "price").Value != json.Number("12.5") || valueOf(values, "critical").Value != true ||
		valueOf(values, "bought").Value != "2025-02-28" || !valueOf(values, "tier").Set {
		t.Errorf("set %+v", values)
	}
	values = must[[]tenants.Value](t)(s.SetValues(ctx, device, map[string]any{"rack": nil, "price": 7.0}))
	if valueOf(values, "rack").Set || valueOf(values, "price").Value != json.Number("7") || valueOf(values, "tier").Value != "gold" {
		t.Errorf("changed %+v", values)
	}
	r := audited(t, db, acme.ID, "custom_field.values_set")
	if string(r.Before) != `[{"field":"price","value":12.5},{"field":"rack","value":"R1"}]` || string(r.After) != `[{"field":"price","value":7}]` {
		t.Errorf("audited %s → %s", r.Before, r.After)
	}
	onSite := must[[]tenants.Value](t)(s.SetValues(ctx, tenants.Object{Type: tenants.OnSite, ID: site.ID}, map[string]any{"floor": -3.0}))
	if len(onSite) != 1 || onSite[0].Value != json.Number("-3") {
		t.Errorf("on the site %+v", onSite)
	}
}

func TestSecretValuesAreNeverShown(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	db, ctx := dbtest.Open(t, urls.App), dbtest.Staff(t, everything...)
	s := tenants.NewCustomFields(db, newKeeper(t, db))
	acme := addTenant(t, db, "Acme")
	object := tenants.Object{Type: tenants.OnTenant, ID: acme.ID}
	define(t, s, scope.Provider, tenants.OnTenant, "wifi", tenants.FieldSecret)
	const canary = "canary-91bc-wifi"
	values := must[[]tenants.Value](t)(s.SetValues(ctx, object, map[string]any{"wifi": canary}))
	if !values[0].Set || values[0].Value != nil {
		t.Errorf("shown %+v", values)
	}
	if got := inTx(t, ctx, db, func(tx *gorm.DB) (string, error) { return s.SecretTx(tx, acme.ID, object, "wifi") }); got != canary {
		t.Errorf("opened %q", got)
	}
	r := audited(t, db, acme.ID, "custom_field.values_set")
	if bytes.Contains(r.After, []byte(canary)) || !bytes.Contains(r.After, []byte("(secret)")) {
		t.Errorf("audited %s", r.After)
	}
	stored := inTx(t, ctx, db, func(tx *gorm.DB) (n int64, err error) {
		err = tx.Raw("SELECT count(*) FROM custom_field_values v WHERE v::text LIKE ?", "%"+canary+"%").Scan(&n).Error
		return n, err
	})
	if stored != 0 {
		t.Error("the secret is stored in clear")
	}
	// A secret that somebody moves to another object in the database does not open there.
	other := addTenant(t, db, "Other")
	inTx(t, ctx, db, func(tx *gorm.DB) (int, error) {
		return 0, tx.Exec("UPDATE custom_field_values SET tenant_id = ?, object_id = ?", other.ID, other.ID).Error
	})
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		_, err := s.SecretTx(tx, other.ID, tenants.Object{Type: tenants.OnTenant, ID: other.ID}, "wifi")
		return err
	})
	if err == nil {
		t.Error("a moved secret opened")
	}
}

func TestDefinitions(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewCustomFields(db, newKeeper(t, db))
	acme, other := addTenant(t, db, "Acme"), addTenant(t, db, "Other")
	tier := define(t, s, scope.Provider, tenants.OnTenant, "tier", tenants.FieldChoice, "gold", "silver")
	define(t, s, acme.ID, tenants.OnTenant, "own", tenants.FieldText)
	define(t, s, other.ID, tenants.OnTenant, "own", tenants.FieldNumber) // a neighbour's key is free
	for _, c := range []struct {
		tenant uuid.UUID
		key    string
	}{{acme.ID, "tier"}, {scope.Provider, "tier"}, {scope.Provider, "own"}, {acme.ID, "own"}} {
		_, err := s.Define(ctx, tenants.NewField{TenantID: c.tenant, Key: c.key, Label: "X", AppliesTo: tenants.OnTenant, Type: tenants.FieldText})
		if !errors.Is(err, tenants.ErrFieldKeyTaken) {
			t.Errorf("%s: %v", c.key, err)
		}
	}
	object := tenants.Object{Type: tenants.OnTenant, ID: acme.ID}
	must[[]tenants.Value](t)(s.SetValues(ctx, object, map[string]any{"tier": "gold"}))
	tier = must[tenants.Field](t)(s.Change(ctx, tier.ID, tenants.FieldChange{Version: 1, Options: &[]string{"silver"}, Label: ptr("Tier of service")}))
	if tier.Version != 2 || tier.Label != "Tier of service" || len(tier.Options) != 1 {
		t.Errorf("changed %+v", tier)
	}
	if values := must[[]tenants.Value](t)(s.Values(ctx, object)); valueOf(values, "tier").Value != "gold" {
		t.Errorf("a withdrawn option vanished: %+v", values)
	}
	if _, err := s.SetValues(ctx, object, map[string]any{"tier": "gold"}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a withdrawn option was chosen: %v", err)
	}
	if _, err := s.Change(ctx, tier.ID, tenants.FieldChange{Version: 1}); !errors.Is(err, tenantdb.ErrStale) {
		t.Errorf("an old version: %v", err)
	}
	if err := s.Delete(ctx, tier.ID); err != nil {
		t.Fatal(err)
	}
	if values := must[[]tenants.Value](t)(s.Values(ctx, object)); len(values) != 1 || values[0].Field.Key != "own" {
		t.Errorf("after deletion %+v", values)
	}
	if r := audited(t, db, scope.Provider, "custom_field.deleted"); string(r.Detail) != `{"values_deleted":1}` || !bytes.Contains(r.Before, []byte(`"key":"tier"`)) {
		t.Errorf("audited %s %s", r.Detail, r.Before)
	}
}

func TestCustomFieldsOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s := tenants.NewCustomFields(db, newKeeper(t, db))
	mine, theirs := addTenant(t, db, "Mine"), addTenant(t, db, "Theirs")
	theirSite := addSite(t, db, theirs.ID, "Theirs")
	theirDevice := addDevice(t, db, theirSite)
	global := define(t, s, scope.Provider, tenants.OnTenant, "global", tenants.FieldText)
	foreign := define(t, s, theirs.ID, tenants.OnTenant, "foreign", tenants.FieldText)
	for name, ctx := range map[string]context.Context{
		"tenant":  dbtest.Tenant(t, mine.ID, everything...),
		"granted": dbtest.Granted(t, []scope.ID{mine.ID}, everything...),
	} {
		for _, o := range []tenants.Object{{Type: tenants.OnTenant, ID: theirs.ID}, {Type: tenants.OnTenant, ID: scope.Provider},
			{Type: tenants.OnSite, ID: theirSite.ID}, {Type: tenants.OnDevice, ID: theirDevice}} {
			if err := second(s.Values(ctx, o)); fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s: values of a foreign %s: %v", name, o.Type, err)
			}
			if err := second(s.SetValues(ctx, o, map[string]any{"global": "x"})); fault.KindOf(err) != fault.NotFound {
				t.Errorf("%s: set values of a foreign %s: %v", name, o.Type, err)
			}
		}
		for what, c := range map[string]struct {
			err  error
			kind fault.Kind
		}{
			"change foreign":  {second(s.Change(ctx, foreign.ID, tenants.FieldChange{Version: 1})), fault.NotFound},
			"delete foreign":  {s.Delete(ctx, foreign.ID), fault.NotFound},
			"change global":   {second(s.Change(ctx, global.ID, tenants.FieldChange{Version: 1})), fault.Forbidden},
			"delete global":   {s.Delete(ctx, global.ID), fault.Forbidden},
			"define foreign":  {second(s.Define(ctx, tenants.NewField{TenantID: theirs.ID, Key: "x", Label: "X", AppliesTo: "site", Type: "text"})), fault.NotFound},
			"define global":   {second(s.Define(ctx, tenants.NewField{TenantID: scope.Provider, Key: "x", Label: "X", AppliesTo: "site", Type: "text"})), fault.Forbidden},
			"use foreign key": {second(s.SetValues(ctx, tenants.Object{Type: tenants.OnTenant, ID: mine.ID}, map[string]any{"foreign": "x"})), fault.Invalid},
		} {
			if fault.KindOf(c.err) != c.kind {
				t.Errorf("%s: %s: %v", name, what, c.err)
			}
		}
		page, _, err := s.List(ctx, tenants.FieldFilter{}, "", 0)
		if err != nil || len(page) != 1 || page[0].ID != global.ID {
			t.Errorf("%s: listed %+v, %v", name, page, err)
		}
		if values := must[[]tenants.Value](t)(s.SetValues(ctx, tenants.Object{Type: tenants.OnTenant, ID: mine.ID}, map[string]any{"global": "x"})); len(values) != 1 {
			t.Errorf("%s: own values %+v", name, values)
		}
	}
}

func TestEqualNumbersAreEqualTexts(t *testing.T) {
	t.Parallel()
	f := tenants.Field{Type: tenants.FieldNumber}
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.Uint64().Draw(t, "whole")
		zeros := strings.Repeat("0", rapid.IntRange(0, 5).Draw(t, "zeros"))
		text := json.Number(zeros + fmt.Sprint(whole) + ".50" + zeros)
		plain, number, err := f.Canonical(text)
		if err != nil {
			t.Fatal(err)
		}
		again, _, err := f.Canonical(json.Number(plain))
		if err != nil || again != plain || *number != plain || !strings.HasSuffix(plain, ".5") {
			t.Fatalf("%s → %s → %s, %v", text, plain, again, err)
		}
	})
	for in, want := range map[any]string{math.Copysign(0, -1): "0", json.Number("-0.00"): "0", json.Number("007"): "7", 1e20: "100000000000000000000", 0.1: "0.1", 3: "3"} {
		if got, _, err := f.Canonical(in); err != nil || got != want {
			t.Errorf("%v → %q, %v", in, got, err)
		}
	}
	for _, bad := range []any{json.Number("1e5"), json.Number("NaN"), 1e300, "5", true, nil} {
		if got, _, err := f.Canonical(bad); err == nil {
			t.Errorf("%v → %q", bad, got)
		}
	}
}
