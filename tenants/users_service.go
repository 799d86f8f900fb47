package tenants

import (
	"context"
	"slices"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// Users keeps the people who sign in and what each may do.
//
// Its changes run with the server's reach and decide by the actor's scope in code: whether somebody
// may be managed depends on all of their grants, also on those that the actor's own transactions
// would not see.
type Users struct {
	db *tenantdb.DB
}

// NewUsers makes the service.
func NewUsers(db *tenantdb.DB) *Users { return &Users{db: db} }

// Also is what another package adds to a change of a user, in its transaction and before its audit
// entry: ending sessions, making an invitation. It may be nil.
type Also func(tx *gorm.DB, before, after User) error

// List is a page of users by name.
func (s *Users) List(ctx context.Context, f UserFilter, cursor string, limit int) (page []User, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		page, next, err = listUsers(tx, f, cursor, limit)
		return err
	})
	return page, next, err
}

// Get is one user.
func (s *Users) Get(ctx context.Context, id uuid.UUID) (u User, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		if u, err = findUser(tx, id); err != nil {
			return err
		}
		if !tenantdb.ScopeOf(tx).May(permUsersRead, u.TenantID) {
			return ErrUserNotFound
		}
		return fillUsers(tx, []*User{&u})
	})
	return u, err
}

// Create adds a user, invited until they have set a password.
func (s *Users) Create(ctx context.Context, n NewUser, also Also) (u User, err error) {
	actor := scope.From(ctx)
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		u, err = s.createTx(tx, actor, n, also)
		return err
	})
	return u, err
}

// CreateTx is Create inside a transaction of the server itself, for the first administrator.
func (s *Users) CreateTx(tx *gorm.DB, n NewUser, also Also) (User, error) {
	return s.createTx(tx, tenantdb.ScopeOf(tx), n, also)
}

func (s *Users) createTx(tx *gorm.DB, actor scope.Scope, n NewUser, also Also) (User, error) {
	if err := n.Validate(); err != nil {
		return User{}, err
	}
	if !actor.Sees(n.TenantID) {
		return User{}, ErrTenantNotFound
	}
	home := User{TenantID: n.TenantID}
	if err := mayManage(actor, home); err != nil {
		return User{}, err
	}
	if err := mayGrant(actor, home, n.Grants); err != nil {
		return User{}, err
	}
	u, err := insertUser(tx, n)
	if err != nil {
		return u, err
	}
	if err := replaceGrants(tx, u, n.Grants, actor.Actor.ID); err != nil {
		return u, err
	}
	u.Grants = sortedGrants(n.Grants)
	if also != nil {
		if err := also(tx, User{}, u); err != nil {
			return u, err
		}
	}
	entries := append(accessEntries(User{}, u), audit.Entry{TenantID: u.TenantID, Action: "user.created", ObjectType: "user",
		ObjectID: u.ID.String(), ObjectName: u.Email, After: u.face()})
	return u, audit.WriteTx(tx, entries...)
}

// Update changes, disables or enables a user.
func (s *Users) Update(ctx context.Context, id uuid.UUID, c UserChange, also Also) (User, error) {
	if err := c.Validate(); err != nil {
		return User{}, err
	}
	return s.change(ctx, id, func(tx *gorm.DB, actor scope.Scope, before User) (User, string, error) {
		if err := mayManage(actor, before); err != nil {
			return before, "", err
		}
		return s.applyChange(tx, actor, before, c)
	}, also)
}

// UpdateOwn changes the actor's own profile: name and locale.
func (s *Users) UpdateOwn(ctx context.Context, c UserChange) (User, error) {
	c = UserChange{Version: c.Version, Name: c.Name, Locale: c.Locale}
	if err := c.Validate(); err != nil {
		return User{}, err
	}
	self := scope.From(ctx).Actor
	if self.Kind != scope.User {
		return User{}, ErrPeopleOnly
	}
	return s.change(ctx, self.ID, func(tx *gorm.DB, actor scope.Scope, before User) (User, string, error) {
		return s.applyChange(tx, actor, before, c)
	}, nil)
}

func (s *Users) applyChange(tx *gorm.DB, actor scope.Scope, before User, c UserChange) (User, string, error) {
	passwordSet, err := hasPassword(tx, before)
	if err != nil {
		return before, "", err
	}
	after := c.apply(before, passwordSet)
	action := "user.updated"
	if before.State != after.State {
		action = map[bool]string{true: "user.disabled", false: "user.enabled"}[after.State == UserDisabled]
		if after.State == UserDisabled && before.ID == actor.Actor.ID {
			return before, "", ErrOwnAccount
		}
	}
	return after, action, updateUser(tx, after, c.Version)
}

// SetGrants replaces what a user may do. It holds from the user's next request on.
func (s *Users) SetGrants(ctx context.Context, id uuid.UUID, version int64, grants []Grant, also Also) (User, error) {
	grants = sortedGrants(grants)
	return s.change(ctx, id, func(tx *gorm.DB, actor scope.Scope, before User) (User, string, error) {
		if err := validGrants(before.TenantID, grants); err != nil {
			return before, "", err
		}
		if err := mayManage(actor, before); err != nil {
			return before, "", err
		}
		if err := mayGrant(actor, before, grants); err != nil {
			return before, "", err
		}
		after := before
		after.Grants = grants
		if err := updateUser(tx, after, version); err != nil {
			return before, "", err
		}
		return after, "user.grants_changed", replaceGrants(tx, after, grants, actor.Actor.ID)
	}, also)
}

// Manage runs an act upon a user's account that another package knows how to do: a reset link, a
// second factor removed. It decides whether the actor may, and writes the audit entry.
func (s *Users) Manage(ctx context.Context, id uuid.UUID, action string, act func(tx *gorm.DB, u User) error) (User, error) {
	return s.change(ctx, id, func(tx *gorm.DB, actor scope.Scope, before User) (User, string, error) {
		if err := mayManage(actor, before); err != nil {
			return before, "", err
		}
		return before, action, act(tx, before)
	}, nil)
}

// change runs one verb on one user, locked, and writes what it did into the audit log.
func (s *Users) change(ctx context.Context, id uuid.UUID,
	verb func(tx *gorm.DB, actor scope.Scope, before User) (after User, action string, err error), also Also) (after User, err error) {
	actor := scope.From(ctx)
	err = s.db.System(ctx, func(tx *gorm.DB) error {
		before, err := lockUser(tx, actor, id)
		if err != nil {
			return err
		}
		var action string
		if after, action, err = verb(tx, actor, before); err != nil {
			return err
		}
		if err := keepAnOwner(tx, before, after); err != nil {
			return err
		}
		if also != nil {
			if err := also(tx, before, after); err != nil {
				return err
			}
		}
		entries := append(accessEntries(before, after), audit.Entry{TenantID: after.TenantID, Action: action, ObjectType: "user",
			ObjectID: id.String(), ObjectName: after.Email, Before: before.face(), After: after.face()})
		if err := audit.WriteTx(tx, entries...); err != nil {
			return err
		}
		if after, err = findUser(tx, id); err != nil {
			return err
		}
		return fillUsers(tx, []*User{&after})
	})
	return after, err
}

// lockUser finds a user whose home is within the actor's reach, with all of their grants, locked.
func lockUser(tx *gorm.DB, actor scope.Scope, id uuid.UUID) (User, error) {
	u, err := findUser(tx.Clauses(forChange), id)
	if err != nil {
		return u, err
	}
	own := actor.Actor.Kind == scope.User && actor.Actor.ID == u.ID
	if !own && (!actor.Sees(u.TenantID) || !actor.May(permUsersRead, u.TenantID)) {
		return User{}, ErrUserNotFound
	}
	return u, fillUsers(tx, []*User{&u})
}

func validGrants(home uuid.UUID, grants []Grant) error {
	var f fault.Fields
	checkGrants(&f, home, grants)
	return f.Err()
}

func (u User) owns() bool {
	return u.State == UserActive && slices.ContainsFunc(u.Grants, func(g Grant) bool { return g.Role == Owner && g.AllTenants })
}

// accessEntries tell each named tenant, in its own log, who of the provider may act on it from now on,
// or no longer may.
func accessEntries(before, after User) []audit.Entry {
	var entries []audit.Entry
	tell := func(from, to []Grant, action string) {
		for _, g := range from {
			if g.AllTenants || g.TenantID == after.TenantID || slices.Contains(to, g) {
				continue
			}
			entries = append(entries, audit.Entry{TenantID: g.TenantID, Action: action, ObjectType: "user", ObjectID: after.ID.String(),
				ObjectName: after.Email, Detail: map[string]any{"role": g.Role}})
		}
	}
	tell(after.Grants, before.Grants, "access.granted")
	tell(before.Grants, after.Grants, "access.revoked")
	return entries
}
