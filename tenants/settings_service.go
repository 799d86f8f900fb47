package tenants

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/secrets"
	"reeve/tenants/tenantdb"
)

// Settings keeps what administrators decide: one versioned row per tenant and domain, each a typed
// struct. Only the provider has provider, security and mail settings; job settings may be a tenant's own.
type Settings struct {
	db     *tenantdb.DB
	keeper *secrets.Keeper
}

// NewSettings makes the service. The keeper seals the password of the mail server.
func NewSettings(db *tenantdb.DB, keeper *secrets.Keeper) *Settings {
	return &Settings{db: db, keeper: keeper}
}

// provider is the provider's tenant row as a UUID.
var provider = uuid.UUID(scope.Provider)

// Provider is how the MSP presents itself.
func (s *Settings) Provider(tx *gorm.DB) (ProviderSpec, error) {
	d, err := loadProvider(tx)
	return d.Value, err
}

// Security is how hard it is to get in.
func (s *Settings) Security(tx *gorm.DB) (SecuritySpec, error) {
	d, err := load(tx, provider, domainSecurity, defaultSecurity())
	return d.Value, err
}

// Mail is how mail leaves.
func (s *Settings) Mail(tx *gorm.DB) (MailSpec, error) {
	d, err := load(tx, provider, domainMail, defaultMail())
	return d.Value, err
}

// mailPurpose binds the sealed password to its place.
const mailPurpose = "settings.mail.password"

// MailPassword opens the password of the mail server; empty when there is none.
func (s *Settings) MailPassword(tx *gorm.DB, m MailSpec) (string, error) {
	if !m.PasswordSet() {
		return "", nil
	}
	plain, err := s.keeper.OpenTx(tx, scope.Provider, mailPurpose, scope.Provider, m.Sealed)
	return string(plain), err
}

// Jobs is the blast-radius brake that holds for a tenant: its own, or the provider's.
func (s *Settings) Jobs(tx *gorm.DB, tenant uuid.UUID) (JobSpec, error) {
	d, err := loadJobs(tx, tenant)
	return d.Value, err
}

// ReadProvider is the provider settings as an administrator edits them.
func (s *Settings) ReadProvider(ctx context.Context) (Document[ProviderSpec], error) {
	return read(ctx, s.db, provider, loadProvider)
}

// ReadSecurity is the security settings as an administrator edits them.
func (s *Settings) ReadSecurity(ctx context.Context) (Document[SecuritySpec], error) {
	return read(ctx, s.db, provider, func(tx *gorm.DB) (Document[SecuritySpec], error) {
		return load(tx, provider, domainSecurity, defaultSecurity())
	})
}

// ReadMail is the mail settings as an administrator edits them.
func (s *Settings) ReadMail(ctx context.Context) (Document[MailSpec], error) {
	return read(ctx, s.db, provider, func(tx *gorm.DB) (Document[MailSpec], error) {
		return load(tx, provider, domainMail, defaultMail())
	})
}

// ReadJobs is the job settings as they hold for a tenant.
func (s *Settings) ReadJobs(ctx context.Context, tenant uuid.UUID) (Document[JobSpec], error) {
	return read(ctx, s.db, tenant, func(tx *gorm.DB) (Document[JobSpec], error) { return loadJobs(tx, tenant) })
}

// PutProvider replaces the provider settings, and with them the name, zone and locale of its tenant row.
func (s *Settings) PutProvider(ctx context.Context, d Document[ProviderSpec]) (Document[ProviderSpec], error) {
	d.Value.Name = strings.TrimSpace(d.Value.Name)
	if err := d.Value.Validate(); err != nil {
		return d, err
	}
	return write(ctx, s.db, place{provider, domainProvider}, d, func(tx *gorm.DB) (change, error) {
		before, err := loadProvider(tx.Clauses(forChange))
		if err != nil {
			return change{}, err
		}
		err = tx.Table("tenants").Where("id = ?", provider).Updates(map[string]any{"name": d.Value.Name, "zone": d.Value.Zone,
			"locale": d.Value.Locale, "version": gorm.Expr("version + 1"), "updated_at": tenantdb.Now(tx)}).Error
		return change{before: before.Value.face(), after: d.Value.face(), spec: d.Value}, err
	})
}

// PutSecurity replaces the security settings.
func (s *Settings) PutSecurity(ctx context.Context, d Document[SecuritySpec]) (Document[SecuritySpec], error) {
	if d.Value.SecondFactorRequiredRoles == nil {
		d.Value.SecondFactorRequiredRoles = []string{}
	}
	if err := d.Value.Validate(); err != nil {
		return d, err
	}
	return write(ctx, s.db, place{provider, domainSecurity}, d, func(tx *gorm.DB) (change, error) {
		before, err := load(tx, provider, domainSecurity, defaultSecurity())
		return change{before: before.Value, after: d.Value, spec: d.Value}, err
	})
}

// PutMail replaces the mail settings. The stored password stays when none is given, but only for the
// server it was given for: otherwise whoever may edit could have it sent to a server of their own.
func (s *Settings) PutMail(ctx context.Context, version int64, c MailChange) (Document[MailSpec], error) {
	d := Document[MailSpec]{Version: version, Value: c.MailSpec}
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		if err := maySettings(tx, provider, permSettingsManage); err != nil {
			return err
		}
		before, err := load(tx, provider, domainMail, defaultMail())
		if err != nil {
			return err
		}
		if d.Value.Sealed, err = s.sealPassword(tx, before.Value, c); err != nil {
			return err
		}
		if err := d.Value.Validate(); err != nil {
			return err
		}
		d.Version, err = store(tx, place{provider, domainMail}, version, change{before: before.Value.face(), after: d.Value.face(),
			spec: d.Value, detail: map[string]any{"password_changed": c.Password != nil}})
		return err
	})
	return d, err
}

const maxPassword = 1024

func (s *Settings) sealPassword(tx *gorm.DB, before MailSpec, c MailChange) ([]byte, error) {
	if c.Password == nil {
		moved := before.Host != c.Host || before.Port != c.Port || before.Username != c.Username
		if before.PasswordSet() && moved && c.Host != "" {
			return nil, fault.InvalidField("/value/password", "give the password again: the stored one is only for the server and user it was given for")
		}
		if c.Host == "" {
			return nil, nil
		}
		return before.Sealed, nil
	}
	if *c.Password == "" {
		return nil, nil
	}
	if len(*c.Password) > maxPassword {
		return nil, fault.InvalidField("/value/password", "give at most 1024 bytes")
	}
	return s.keeper.SealTx(tx, scope.Provider, mailPurpose, scope.Provider, []byte(*c.Password))
}

// PutJobs replaces the job settings of the provider or of a tenant, which from then on has its own.
func (s *Settings) PutJobs(ctx context.Context, tenant uuid.UUID, d Document[JobSpec]) (Document[JobSpec], error) {
	if err := d.Value.Validate(); err != nil {
		return d, err
	}
	d.Inherited = false
	return write(ctx, s.db, place{tenant, domainJobs}, d, func(tx *gorm.DB) (change, error) {
		before, err := loadJobs(tx, tenant)
		return change{before: before.Value, after: d.Value, spec: d.Value}, err
	})
}

func (s ProviderSpec) face() map[string]any {
	return map[string]any{"name": s.Name, "zone": s.Zone, "locale": s.Locale, "support_email": s.SupportEmail, "support_phone": s.SupportPhone}
}

func (s MailSpec) face() map[string]any {
	return map[string]any{"host": s.Host, "port": s.Port, "security": s.Security, "username": s.Username, "from": s.From,
		"from_name": s.FromName, "password_set": s.PasswordSet()}
}

// place is where a domain of settings is stored.
type place struct {
	tenant uuid.UUID
	domain string
}

// change is what a replacement does, as stored and as audited.
type change struct {
	before, after any
	spec          any
	detail        map[string]any
}

// maySettings checks a permission over the settings of a tenant. That the provider has settings is no
// secret, so its are forbidden, not missing.
func maySettings(tx *gorm.DB, tenant uuid.UUID, permission string) error {
	if tenant == provider && !tenantdb.ScopeOf(tx).Sees(tenant) {
		return ErrNotPermitted
	}
	_, err := visibleTenant(tx, tenant, permission)
	return err
}

// read is a domain as an administrator edits it; the getters are for the server's own use.
func read[T any](ctx context.Context, db *tenantdb.DB, tenant uuid.UUID, load func(tx *gorm.DB) (Document[T], error)) (d Document[T], err error) {
	err = db.Tx(ctx, func(tx *gorm.DB) error {
		if err := maySettings(tx, tenant, permSettingsRead); err != nil {
			return err
		}
		d, err = load(tx)
		return err
	})
	return d, err
}

func write[T any](ctx context.Context, db *tenantdb.DB, at place, d Document[T], decide func(tx *gorm.DB) (change, error)) (Document[T], error) {
	err := db.Tx(ctx, func(tx *gorm.DB) error {
		if err := maySettings(tx, at.tenant, permSettingsManage); err != nil {
			return err
		}
		c, err := decide(tx)
		if err != nil {
			return err
		}
		d.Version, err = store(tx, at, d.Version, c)
		return err
	})
	return d, err
}

// load reads a domain over its defaults, so that a field added later has one.
func load[T any](tx *gorm.DB, tenant uuid.UUID, domain string, defaults T) (Document[T], error) {
	d := Document[T]{Value: defaults}
	var rows []struct {
		Spec    []byte
		Version int64
	}
	err := tx.Table("settings").Select("spec, version").Where("tenant_id = ? AND domain = ?", tenant, domain).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return d, err
	}
	d.Version = rows[0].Version
	if err := json.Unmarshal(rows[0].Spec, &d.Value); err != nil {
		return d, fmt.Errorf("reading the %s settings: %w", domain, err)
	}
	return d, nil
}

func loadProvider(tx *gorm.DB) (Document[ProviderSpec], error) {
	var row Tenant
	if err := tx.Table("tenants").Where("id = ?", provider).Take(&row).Error; err != nil {
		return Document[ProviderSpec]{}, err
	}
	return load(tx.Session(&gorm.Session{NewDB: true}), provider, domainProvider, ProviderSpec{Name: row.Name, Zone: row.Zone, Locale: row.Locale})
}

func loadJobs(tx *gorm.DB, tenant uuid.UUID) (Document[JobSpec], error) {
	d, err := load(tx, tenant, domainJobs, defaultJobs())
	if err != nil || d.Version > 0 || tenant == provider {
		return d, err
	}
	inherited, err := load(tx, provider, domainJobs, defaultJobs())
	inherited.Version, inherited.Inherited = 0, true
	return inherited, err
}

// store replaces a domain whose version its editor saw, 0 when there was none.
func store(tx *gorm.DB, at place, version int64, c change) (int64, error) {
	spec, err := json.Marshal(c.spec)
	if err != nil {
		return 0, fmt.Errorf("writing the %s settings: %w", at.domain, err)
	}
	actor := uuid.UUID(tenantdb.ScopeOf(tx).Actor.ID)
	if version == 0 {
		done := tx.Exec(`INSERT INTO settings (tenant_id, domain, spec, updated_by) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			at.tenant, at.domain, string(spec), actor)
		if err = done.Error; err == nil && done.RowsAffected == 0 {
			err = tenantdb.ErrStale
		}
	} else {
		err = tenantdb.UpdateVersion(tx.Table("settings").Where("tenant_id = ? AND domain = ?", at.tenant, at.domain), version,
			map[string]any{"spec": string(spec), "updated_at": tenantdb.Now(tx), "updated_by": actor})
	}
	if fault.KindOf(err) == fault.NotFound {
		err = tenantdb.ErrStale // a version of settings that were never stored
	}
	if err != nil {
		return 0, err
	}
	return version + 1, audit.WriteTx(tx, audit.Entry{TenantID: at.tenant, Action: "settings.updated", ObjectType: "settings",
		ObjectID: at.domain, ObjectName: at.domain, Before: c.before, After: c.after, Detail: c.detail})
}
