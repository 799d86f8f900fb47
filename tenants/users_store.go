package tenants

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/tenantdb"
)

var usersByName = tenantdb.Sort{Name: "name", Columns: []tenantdb.Column{
	{SQL: `lower(users.name) COLLATE "C"`, Kind: tenantdb.Text}, {SQL: "users.id", Kind: tenantdb.UUID}}}

// userRow is a user as it is stored, with what lists need beside it.
type userRow struct {
	TenantID     uuid.UUID
	ID           uuid.UUID
	Email        string
	Name         string
	Locale       string
	State        UserState
	LastSignInAt *time.Time
	Version      int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	TenantName   string
	SecondFactor bool
	SortKey      string
}

const userColumns = `users.tenant_id, users.id, users.email, users.name, users.locale, users.state, users.last_sign_in_at,
	users.version, users.created_at, users.updated_at, lower(users.name) AS sort_key,
	coalesce((SELECT t.name FROM tenants t WHERE t.id = users.tenant_id), '') AS tenant_name,
	EXISTS (SELECT FROM user_credentials c WHERE c.tenant_id = users.tenant_id AND c.user_id = users.id
		AND c.second_factor_at IS NOT NULL) AS second_factor`

func (r userRow) user() User {
	return User{ID: r.ID, TenantID: r.TenantID, TenantName: r.TenantName, Email: r.Email, Name: r.Name, Locale: r.Locale,
		State: r.State, SecondFactor: r.SecondFactor, LastSignInAt: r.LastSignInAt, Version: r.Version,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}
}

func listUsers(tx *gorm.DB, f UserFilter, cursor string, limit int) ([]User, string, error) {
	q := tx.Table("users").Select(userColumns)
	q = tenantdb.Permitted(q, permUsersRead, "users.tenant_id")
	if f.TenantID != nil {
		q = q.Where("users.tenant_id = ?", *f.TenantID)
	}
	if f.State != nil {
		q = q.Where("users.state = ?", *f.State)
	}
	if f.Query != nil {
		q = q.Where("(strpos(lower(users.name), lower(?)) > 0 OR strpos(lower(users.email), lower(?)) > 0)", *f.Query, *f.Query)
	}
	q, err := usersByName.Page(q, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var rows []userRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("listing users: %w", err)
	}
	rows, next := tenantdb.Next(usersByName, rows, limit, func(r userRow) []any { return []any{r.SortKey, r.ID} })
	page, pointers := make([]User, len(rows)), make([]*User, len(rows))
	for i := range rows {
		page[i], pointers[i] = rows[i].user(), &page[i]
	}
	return page, next, fillUsers(tx, pointers)
}

func findUser(tx *gorm.DB, id uuid.UUID) (User, error) {
	var r userRow
	if err := tx.Table("users").Select(userColumns).Where("users.id = ?", id).Take(&r).Error; err != nil {
		return User{}, orNotFound(err, ErrUserNotFound)
	}
	return r.user(), nil
}

// fillUsers reads the grants of a page of users in one statement.
func fillUsers(tx *gorm.DB, page []*User) error {
	if len(page) == 0 {
		return nil
	}
	ids := make([]uuid.UUID, len(page))
	for i, u := range page {
		ids[i] = u.ID
	}
	var rows []struct {
		UserID     uuid.UUID
		TenantID   uuid.UUID
		Role       RoleName
		AllTenants bool
	}
	err := tx.Raw("SELECT user_id, tenant_id, role, all_tenants FROM user_grants WHERE user_id IN ?", ids).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("reading grants: %w", err)
	}
	for _, u := range page {
		u.Grants = nil
		for _, r := range rows {
			if r.UserID != u.ID {
				continue
			}
			g := Grant{Role: r.Role, AllTenants: r.AllTenants}
			if !r.AllTenants {
				g.TenantID = r.TenantID
			}
			u.Grants = append(u.Grants, g)
		}
		u.Grants = sortedGrants(u.Grants)
	}
	return nil
}

func sortedGrants(grants []Grant) []Grant {
	grants = slices.Clone(grants)
	slices.SortFunc(grants, func(a, b Grant) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), slices.Compare(a.TenantID[:], b.TenantID[:]))
	})
	return grants
}

func insertUser(tx *gorm.DB, n NewUser) (User, error) {
	var home Tenant
	if err := tx.Table("tenants").Where("id = ?", n.TenantID).Take(&home).Error; err != nil {
		return User{}, orNotFound(err, ErrTenantNotFound)
	}
	if home.State == Archived {
		return User{}, ErrTenantArchived
	}
	now := tenantdb.Now(tx)
	u := User{ID: uuid.Must(uuid.NewV7()), TenantID: n.TenantID, TenantName: home.Name, Email: strings.TrimSpace(n.Email),
		Name: strings.TrimSpace(n.Name), Locale: cmp.Or(n.Locale, home.Locale), State: UserInvited, Version: 1, CreatedAt: now, UpdatedAt: now}
	done := tx.Exec(`INSERT INTO users (tenant_id, id, email, name, locale, state, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`, u.TenantID, u.ID, u.Email, u.Name, u.Locale, u.State, now, now)
	if done.Error != nil {
		return u, fmt.Errorf("creating user: %w", done.Error)
	}
	if done.RowsAffected == 0 {
		return u, ErrEmailTaken
	}
	err := tx.Exec("INSERT INTO user_credentials (tenant_id, user_id) VALUES (?, ?)", u.TenantID, u.ID).Error
	if err != nil {
		return u, fmt.Errorf("creating credentials: %w", err)
	}
	return u, nil
}

func updateUser(tx *gorm.DB, u User, version int64) error {
	taken, err := emailTaken(tx, u)
	if err != nil {
		return err
	}
	if taken {
		return ErrEmailTaken
	}
	err = tenantdb.UpdateVersion(tx.Table("users").Where("tenant_id = ? AND id = ?", u.TenantID, u.ID), version, map[string]any{
		"email": u.Email, "name": u.Name, "locale": u.Locale, "state": u.State, "updated_at": tenantdb.Now(tx)})
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return ErrEmailTaken // taken between our look and our write
	}
	return err
}

func emailTaken(tx *gorm.DB, u User) (taken bool, err error) {
	err = tx.Raw("SELECT EXISTS (SELECT FROM users WHERE tenant_id = ? AND lower(email) = lower(?) AND id <> ?)",
		u.TenantID, u.Email, u.ID).Scan(&taken).Error
	return taken, err
}

func hasPassword(tx *gorm.DB, u User) (set bool, err error) {
	err = tx.Raw("SELECT EXISTS (SELECT FROM user_credentials WHERE tenant_id = ? AND user_id = ? AND password_set_at IS NOT NULL)",
		u.TenantID, u.ID).Scan(&set).Error
	return set, err
}

func replaceGrants(tx *gorm.DB, u User, grants []Grant, by uuid.UUID) error {
	if err := tx.Exec("DELETE FROM user_grants WHERE user_id = ?", u.ID).Error; err != nil {
		return fmt.Errorf("removing grants: %w", err)
	}
	if len(grants) == 0 {
		return nil
	}
	named := make([]uuid.UUID, 0, len(grants))
	rows := make([]map[string]any, len(grants))
	for i, g := range grants {
		at := g.TenantID
		if g.AllTenants {
			at = provider
		}
		named = append(named, at)
		rows[i] = map[string]any{"tenant_id": at, "user_tenant_id": u.TenantID, "user_id": u.ID, "role": g.Role,
			"all_tenants": g.AllTenants, "granted_at": tenantdb.Now(tx)}
		if by != uuid.Nil {
			rows[i]["granted_by"] = by
		}
	}
	var unknown []uuid.UUID
	slices.SortFunc(named, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	named = slices.Compact(named)
	if err := tx.Raw("SELECT id FROM tenants WHERE id IN ?", named).Scan(&unknown).Error; err != nil {
		return err
	}
	if len(unknown) != len(named) {
		return fault.InvalidField("/grants", "names a tenant that does not exist")
	}
	if err := tx.Table("user_grants").CreateInBatches(rows, 1000).Error; err != nil {
		return fmt.Errorf("adding grants: %w", err)
	}
	return nil
}

// keepAnOwner refuses the change that would leave nobody who can appoint an owner. Changes of owners
// queue behind a lock: two owners who demote each other at once do not both succeed.
func keepAnOwner(tx *gorm.DB, before, after User) error {
	if !before.owns() || after.owns() {
		return nil
	}
	if err := tx.Exec("SELECT pg_advisory_xact_lock(hashtext('reeve_owners'))").Error; err != nil {
		return err
	}
	var others int64
	err := tx.Raw(`SELECT count(*) FROM user_grants g JOIN users u ON u.tenant_id = g.user_tenant_id AND u.id = g.user_id
		WHERE g.role = ? AND g.all_tenants AND u.state = ? AND u.id <> ?`, Owner, UserActive, before.ID).Scan(&others).Error
	if err != nil {
		return err
	}
	if others == 0 {
		return ErrLastOwner
	}
	return nil
}

// UserTx reads a user with all of their grants inside a transaction of the server itself.
func UserTx(tx *gorm.DB, id uuid.UUID) (User, error) {
	u, err := findUser(tx, id)
	if err != nil {
		return u, err
	}
	return u, fillUsers(tx, []*User{&u})
}

// ActivateTx ends a user's invitation: they have set a password.
func ActivateTx(tx *gorm.DB, u User) error {
	return tx.Exec("UPDATE users SET state = ?, version = version + 1, updated_at = ? WHERE tenant_id = ? AND id = ? AND state = ?",
		UserActive, tenantdb.Now(tx), u.TenantID, u.ID, UserInvited).Error
}

// OwnersTx lists the owners who can sign in: whom break-glass access is told to.
func OwnersTx(tx *gorm.DB) ([]User, error) {
	var rows []userRow
	err := tx.Table("users").Select(userColumns).Where(`users.state = ? AND EXISTS (SELECT FROM user_grants g
		WHERE g.user_id = users.id AND g.role = ? AND g.all_tenants)`, UserActive, Owner).Order("users.id").Find(&rows).Error
	owners := make([]User, len(rows))
	for i, r := range rows {
		owners[i] = r.user()
	}
	return owners, err
}
