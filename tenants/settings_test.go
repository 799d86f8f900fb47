package tenants_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

func newKeeper(t *testing.T, db *tenantdb.DB) *secrets.Keeper {
	t.Helper()
	master := must[*secrets.Master](t)(secrets.OpenMaster(filepath.Join(t.TempDir(), "master.key")))
	return secrets.NewKeeper(db, master, time.Now)
}

// inTx runs one getter of the settings in a transaction.
func inTx[T any](t *testing.T, ctx context.Context, db *tenantdb.DB, get func(tx *gorm.DB) (T, error)) (v T) {
	t.Helper()
	if err := db.Tx(ctx, func(tx *gorm.DB) (err error) {
		v, err = get(tx)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSettingsHaveDefaults(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s, ctx := tenants.NewSettings(db, newKeeper(t, db)), dbtest.System(t)
	if got := inTx(t, ctx, db, s.Security); got.PasswordMinLength != 12 || got.Validate() != nil {
		t.Errorf("security %+v", got)
	}
	if got := inTx(t, ctx, db, s.Mail); got.Enabled() || got.Validate() != nil {
		t.Errorf("mail %+v", got)
	}
	if got := inTx(t, ctx, db, s.Provider); got.Name != "Provider" || got.Zone != "UTC" || got.Validate() != nil {
		t.Errorf("provider %+v", got)
	}
}

func TestProviderSettingsAreItsTenantRow(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewSettings(db, newKeeper(t, db))
	d := must[tenants.Document[tenants.ProviderSpec]](t)(s.ReadProvider(ctx))
	d.Value = tenants.ProviderSpec{Name: " Nordlicht IT ", Zone: "Europe/Berlin", Locale: "de", SupportEmail: "help@nordlicht.example"}
	d = must[tenants.Document[tenants.ProviderSpec]](t)(s.PutProvider(ctx, d))
	again := must[tenants.Document[tenants.ProviderSpec]](t)(s.ReadProvider(ctx))
	if d.Version != 1 || again.Value.Name != "Nordlicht IT" || !reflect.DeepEqual(again, d) {
		t.Errorf("put %+v, read %+v", d, again)
	}
	row := must[tenants.Tenant](t)(tenants.NewService(db).Get(ctx, scope.Provider))
	if row.Name != "Nordlicht IT" || row.Zone != "Europe/Berlin" || row.Locale != "de" {
		t.Errorf("row %+v", row)
	}
	if got := addTenant(t, db, "Acme"); got.Zone != "Europe/Berlin" || got.Locale != "de" {
		t.Errorf("a new tenant does not inherit: %+v", got)
	}
	d.Version = 0
	if _, err := s.PutProvider(ctx, d); !errors.Is(err, tenantdb.ErrStale) {
		t.Errorf("an old version: %v", err)
	}
	audited(t, db, scope.Provider, "settings.updated")
}

func TestSettingsFaultsAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want []string
	}{
		{tenants.ProviderSpec{SupportEmail: "a@b\r\nBcc: x@y", SupportPhone: "\x00"}.Validate(),
			[]string{"/value/name", "/value/zone", "/value/locale", "/value/support_email", "/value/support_phone"}},
		{tenants.SecuritySpec{SecondFactorRequiredRoles: []string{"owner", "owner"}, PasswordMinLength: 8}.Validate(),
			[]string{"/value/second_factor_required_roles/1", "/value/password_min_length", "/value/session_idle_hours",
				"/value/session_max_days", "/value/step_up_minutes"}},
		{tenants.MailSpec{Host: "http://mail", Security: "ssl", From: "Help <help@x.example>", FromName: "a\nb"}.Validate(),
			[]string{"/value/port", "/value/security", "/value/host", "/value/from_name", "/value/from"}},
		{tenants.MailSpec{Host: "mail", Port: 25, Security: tenants.MailPlain, From: "a@b.example", Sealed: []byte("x")}.Validate(),
			[]string{"/value/security"}},
		{tenants.JobSpec{CanaryPercent: 101, StopFailurePercent: -1}.Validate(),
			[]string{"/value/max_devices", "/value/max_tenants", "/value/canary_percent", "/value/stop_failure_percent"}},
	} {
		f, _ := fault.As(c.err)
		var got []string
		if f != nil {
			for _, x := range f.Fields {
				got = append(got, x.Pointer)
			}
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v, want %v", got, c.want)
		}
	}
}

func TestMailPasswordIsSealedAndBoundToItsServer(t *testing.T) {
	t.Parallel()
	urls := dbtest.NewURLs(t)
	db, ctx := dbtest.Open(t, urls.App), dbtest.Staff(t, everything...)
	s := tenants.NewSettings(db, newKeeper(t, db))
	const password = "canary-7f3a-mail"
	spec := tenants.MailSpec{Host: "mail.example", Port: 587, Security: tenants.MailStartTLS, Username: "reeve", From: "reeve@example.com"}
	d := must[tenants.Document[tenants.MailSpec]](t)(s.PutMail(ctx, 0, tenants.MailChange{MailSpec: spec, Password: ptr(password)}))
	if !d.Value.PasswordSet() || bytes.Contains(d.Value.Sealed, []byte(password)) {
		t.Errorf("put %+v", d)
	}
	open := func(tx *gorm.DB) (string, error) {
		m, err := s.Mail(tx)
		if err != nil {
			return "", err
		}
		return s.MailPassword(tx, m)
	}
	if got := inTx(t, ctx, db, open); got != password {
		t.Errorf("opened %q", got)
	}
	spec.FromName = "Reeve"
	must[tenants.Document[tenants.MailSpec]](t)(s.PutMail(ctx, 1, tenants.MailChange{MailSpec: spec}))
	if got := inTx(t, ctx, db, open); got != password {
		t.Errorf("kept %q", got)
	}
	moved := spec
	moved.Host = "evil.example"
	_, err := s.PutMail(ctx, 2, tenants.MailChange{MailSpec: moved})
	if f, _ := fault.As(err); f == nil || f.Kind != fault.Invalid || f.Fields[0].Pointer != "/value/password" {
		t.Errorf("the password would have gone to another server: %v", err)
	}
	plain := spec
	plain.Security = tenants.MailPlain
	if _, err := s.PutMail(ctx, 2, tenants.MailChange{MailSpec: plain}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("the password would have gone unprotected: %v", err)
	}
	must[tenants.Document[tenants.MailSpec]](t)(s.PutMail(ctx, 2, tenants.MailChange{MailSpec: spec, Password: ptr("")}))
	if got := inTx(t, ctx, db, open); got != "" {
		t.Errorf("cleared, yet %q", got)
	}
	r := audited(t, db, scope.Provider, "settings.updated")
	if bytes.Contains(r.Before, []byte(password)) || string(r.Detail) != `{"password_changed":true}` {
		t.Errorf("audited %s %s", r.Before, r.Detail)
	}
}

func TestJobSettingsInherit(t *testing.T) {
	t.Parallel()
	db, ctx := dbtest.New(t), dbtest.Staff(t, everything...)
	s := tenants.NewSettings(db, newKeeper(t, db))
	acme := addTenant(t, db, "Acme")
	read := func(ctx context.Context, tenant uuid.UUID) tenants.Document[tenants.JobSpec] {
		t.Helper()
		return must[tenants.Document[tenants.JobSpec]](t)(s.ReadJobs(ctx, tenant))
	}
	put := func(tenant uuid.UUID, version int64, devices int) {
		t.Helper()
		must[tenants.Document[tenants.JobSpec]](t)(s.PutJobs(ctx, tenant,
			tenants.Document[tenants.JobSpec]{Version: version, Value: tenants.JobSpec{MaxDevices: devices, MaxTenants: 1}}))
	}
	put(scope.Provider, 0, 50)
	own := dbtest.Tenant(t, acme.ID, everything...)
	if d := read(own, acme.ID); !d.Inherited || d.Version != 0 || d.Value.MaxDevices != 50 {
		t.Errorf("inherited %+v", d)
	}
	put(acme.ID, 0, 5)
	if d := read(own, acme.ID); d.Inherited || d.Version != 1 || d.Value.MaxDevices != 5 {
		t.Errorf("own %+v", d)
	}
	put(scope.Provider, 1, 60)
	if got := inTx(t, own, db, func(tx *gorm.DB) (tenants.JobSpec, error) { return s.Jobs(tx, acme.ID) }); got.MaxDevices != 5 {
		t.Errorf("getter %+v", got)
	}
}

func TestSettingsOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	s := tenants.NewSettings(db, newKeeper(t, db))
	mine, theirs := addTenant(t, db, "Mine"), addTenant(t, db, "Theirs")
	ctx := dbtest.Tenant(t, mine.ID, everything...)
	jobs := tenants.Document[tenants.JobSpec]{Value: tenants.JobSpec{MaxDevices: 9, MaxTenants: 1}}
	for name, c := range map[string]struct {
		err  error
		kind fault.Kind
	}{
		"read their jobs":    {second(s.ReadJobs(ctx, theirs.ID)), fault.NotFound},
		"put their jobs":     {second(s.PutJobs(ctx, theirs.ID, jobs)), fault.NotFound},
		"put provider jobs":  {second(s.PutJobs(ctx, scope.Provider, jobs)), fault.Forbidden},
		"read mail":          {second(s.ReadMail(ctx)), fault.Forbidden},
		"read security":      {second(s.ReadSecurity(ctx)), fault.Forbidden},
		"put security":       {second(s.PutSecurity(ctx, tenants.Document[tenants.SecuritySpec]{Value: tenants.SecuritySpec{PasswordMinLength: 12, SessionIdleHours: 1, SessionMaxDays: 1, StepUpMinutes: 1}})), fault.Forbidden},
		"put mail":           {second(s.PutMail(ctx, 0, tenants.MailChange{MailSpec: tenants.MailSpec{Port: 25, Security: "none"}})), fault.Forbidden},
		"read provider jobs": {second(s.ReadJobs(ctx, scope.Provider)), fault.Forbidden},
	} {
		if fault.KindOf(c.err) != c.kind {
			t.Errorf("%s: %v", name, c.err)
		}
	}
}
