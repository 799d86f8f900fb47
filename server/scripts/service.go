package scripts

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// The permissions that this package's verbs ask for, over the tenant of the script.
const (
	permRead   = "scripts.read"
	permManage = "scripts.manage"
)

// Service keeps the library.
type Service struct{ db *tenantdb.DB }

// New makes the service.
func New(db *tenantdb.DB) *Service { return &Service{db: db} }

// Create adds a script.
func (s *Service) Create(ctx context.Context, n NewScript) (script Script, err error) {
	if n.TenantID == uuid.Nil {
		n.TenantID = scope.Provider
	}
	n.Text = n.Text.withDefaults()
	if err := n.Validate(); err != nil {
		return Script{}, err
	}
	who := scope.From(ctx)
	if !who.May(permManage, n.TenantID) {
		return Script{}, ErrForbidden
	}
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		now := tenantdb.Now(tx)
		script = Script{ID: uuid.Must(uuid.NewV7()), TenantID: n.TenantID, Name: n.Name, Description: n.Description, Platforms: n.Platforms,
			Text: n.Text, Number: 1, Version: 1, CreatedBy: who.Actor.Name, CreatedAt: now, UpdatedAt: now}
		if err := insert(tx, script); err != nil {
			return err
		}
		if err := insertVersion(tx, script, n.Note); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: script.TenantID, Action: "script.created", ObjectType: "script",
			ObjectID: script.ID.String(), ObjectName: script.Name, After: script.face(), Detail: note(n.Note)})
	})
	return script, err
}

// Get is one script with its current text.
func (s *Service) Get(ctx context.Context, id uuid.UUID) (script Script, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		script, err = visible(tx, id)
		return err
	})
	return script, err
}

// Update changes a script. A change of what runs makes a new version of its text; the old ones stay.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c Change) (after Script, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := visible(tx, id)
		if err != nil {
			return err
		}
		who := tenantdb.ScopeOf(tx)
		if !who.May(permManage, before.TenantID) {
			return ErrForbidden
		}
		if before.Version != c.Version {
			return tenantdb.ErrStale
		}
		var text bool
		if after, text, err = c.apply(before); err != nil {
			return err
		}
		after.Version, after.UpdatedAt = before.Version+1, tenantdb.Now(tx)
		if err := update(tx, after, c.Version); err != nil {
			return err
		}
		if text {
			if err := insertVersion(tx, after, c.Note); err != nil {
				return err
			}
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: after.TenantID, Action: action(before, after), ObjectType: "script",
			ObjectID: id.String(), ObjectName: after.Name, Before: before.face(), After: after.face(), Detail: note(c.Note)})
	})
	if err != nil {
		return Script{}, err
	}
	return after, nil
}

// Versions is a page of a script's texts, the newest first.
func (s *Service) Versions(ctx context.Context, id uuid.UUID, cursor string, limit int) (page []Version, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		script, err := visible(tx, id)
		if err != nil {
			return err
		}
		page, next, err = listVersions(tx, script, cursor, limit)
		return err
	})
	return page, next, err
}

// Filter narrows a list; nil means any.
type Filter struct {
	TenantID *uuid.UUID
	Text     *string // part of a name or description
	Platform *string
	Archived bool
}

// List is a page of scripts by name.
func (s *Service) List(ctx context.Context, f Filter, cursor string, limit int) (page []Script, next string, err error) {
	err = s.db.Tx(ctx, func(tx *gorm.DB) error {
		page, next, err = list(tx, f, cursor, limit)
		return err
	})
	return page, next, err
}

// ResolveTx is the text that a job on this script runs: the current one when number is 0. An archived
// script still runs by a number that names one of its texts, so that schedules keep working as saved.
func ResolveTx(tx *gorm.DB, id uuid.UUID, number int) (Script, error) {
	script, err := load(tx, id)
	if err != nil {
		return Script{}, err
	}
	if number == 0 || number == script.Number {
		if script.Archived && number == 0 {
			return Script{}, ErrArchived
		}
		return script, nil
	}
	v, err := loadVersion(tx, script, number)
	if err != nil {
		return Script{}, err
	}
	script.Text, script.Number = v.Text, v.Number
	return script, nil
}

// visible is a script that the actor may read: one of the provider's, or of a tenant where it may.
func visible(tx *gorm.DB, id uuid.UUID) (Script, error) {
	script, err := load(tx, id)
	if err != nil {
		return Script{}, err
	}
	who := tenantdb.ScopeOf(tx)
	if script.TenantID == scope.Provider && who.MayAnywhere(permRead) || who.May(permRead, script.TenantID) {
		return script, nil
	}
	return Script{}, ErrForbidden
}

func action(before, after Script) string {
	switch {
	case !before.Archived && after.Archived:
		return "script.archived"
	case before.Archived && !after.Archived:
		return "script.restored"
	}
	return "script.updated"
}

// face is the script as the audit log shows it. The text stands in the versions, which never change.
func (s Script) face() map[string]any {
	return map[string]any{"name": s.Name, "description": s.Description, "platforms": s.Platforms, "number": s.Number,
		"interpreter": s.Interpreter, "timeout_seconds": s.TimeoutSeconds, "run_as": s.RunAs, "archived": s.Archived,
		"version": s.Version, "parameters": parameterNames(s.Parameters)}
}

func parameterNames(all []Parameter) []string {
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name + " (" + string(p.Type) + ")"
	}
	return names
}

func note(text string) map[string]any {
	if text == "" {
		return nil
	}
	return map[string]any{"note": text}
}

func taken(err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) && tenantdb.Constraint(err) == "scripts_tenant_name" {
		return ErrNameTaken
	}
	return err
}
