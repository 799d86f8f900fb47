package scripts

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// row is a script as the database gives it.
type row struct {
	ID, TenantID      uuid.UUID
	Name, Description string
	Platforms         []byte
	Interpreter, Body string
	Parameters        []byte
	TimeoutSeconds    int
	RunAs             string
	Number            int
	Version           int64
	CreatedByName     string
	CreatedAt         time.Time
	UpdatedAt         time.Time
	ArchivedAt        *time.Time
	Note              string
	NameKey           string
}

const columns = `s.id, s.tenant_id, s.name, s.description, to_json(s.platforms) AS platforms, v.interpreter, v.body, v.parameters,
	v.timeout_seconds, v.run_as, s.number, s.version, s.created_by_name, s.created_at, s.updated_at, s.archived_at, lower(s.name) AS name_key`

func current(tx *gorm.DB) *gorm.DB {
	return tx.Table("scripts s").Select(columns).
		Joins("JOIN script_versions v ON v.tenant_id = s.tenant_id AND v.script_id = s.id AND v.number = s.number")
}

func (r row) script() (Script, error) {
	text, err := r.text()
	s := Script{ID: r.ID, TenantID: r.TenantID, Name: r.Name, Description: r.Description, Text: text, Number: r.Number,
		Archived: r.ArchivedAt != nil, Version: r.Version, CreatedBy: r.CreatedByName, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(r.Platforms, &s.Platforms); err != nil {
		return s, fmt.Errorf("reading a script's platforms: %w", err)
	}
	return s, nil
}

func (r row) text() (Text, error) {
	t := Text{Interpreter: r.Interpreter, Body: r.Body, TimeoutSeconds: r.TimeoutSeconds, RunAs: r.RunAs, Parameters: []Parameter{}}
	if err := json.Unmarshal(r.Parameters, &t.Parameters); err != nil {
		return t, fmt.Errorf("reading a script's parameters: %w", err)
	}
	return t, nil
}

func load(tx *gorm.DB, id uuid.UUID) (Script, error) {
	var rows []row
	if err := current(tx).Where("s.id = ?", id).Scan(&rows).Error; err != nil {
		return Script{}, err
	}
	if len(rows) == 0 {
		return Script{}, ErrNotFound
	}
	return rows[0].script()
}

func insert(tx *gorm.DB, s Script) error {
	return taken(tx.Exec(`INSERT INTO scripts (tenant_id, id, name, description, platforms, number, created_by_name)
		VALUES (?, ?, ?, ?, ?::text[], ?, ?)`, s.TenantID, s.ID, s.Name, s.Description, tenantdb.Array[string](s.Platforms), s.Number, s.CreatedBy).Error)
}

func update(tx *gorm.DB, s Script, version int64) error {
	var archived any
	if s.Archived {
		archived = s.UpdatedAt
	}
	return taken(tenantdb.UpdateVersion(tx.Table("scripts").Where("id = ?", s.ID), version, map[string]any{
		"name": s.Name, "description": s.Description, "platforms": gorm.Expr("?::text[]", tenantdb.Array[string](s.Platforms)),
		"number": s.Number, "updated_at": s.UpdatedAt, "archived_at": archived}))
}

func insertVersion(tx *gorm.DB, s Script, note string) error {
	parameters, err := json.Marshal(s.Parameters)
	if err != nil {
		return fmt.Errorf("encoding parameters: %w", err)
	}
	return tx.Exec(`INSERT INTO script_versions (tenant_id, script_id, number, interpreter, body, parameters, timeout_seconds, run_as, note, created_by_name)
		VALUES (?, ?, ?, ?, ?, ?::jsonb, ?, ?, ?, ?)`, s.TenantID, s.ID, s.Number, s.Interpreter, s.Body, string(parameters),
		s.TimeoutSeconds, s.RunAs, note, tenantdb.ScopeOf(tx).Actor.Name).Error
}

var versionSort = tenantdb.Sort{Name: "number", Columns: []tenantdb.Column{{SQL: "v.number", Kind: tenantdb.Int32, Descending: true}}}

const versionColumns = "v.number, v.interpreter, v.body, v.parameters, v.timeout_seconds, v.run_as, v.note, v.created_by_name, v.created_at"

func listVersions(tx *gorm.DB, s Script, cursor string, limit int) ([]Version, string, error) {
	q, err := versionSort.Page(tx.Table("script_versions v").Select(versionColumns).
		Where("v.tenant_id = ? AND v.script_id = ?", s.TenantID, s.ID), cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var rows []row
	if err := q.Scan(&rows).Error; err != nil {
		return nil, "", err
	}
	rows, next := tenantdb.Next(versionSort, rows, limit, func(r row) []any { return []any{r.Number} })
	page := make([]Version, len(rows))
	for i, r := range rows {
		if page[i], err = r.versioned(); err != nil {
			return nil, "", err
		}
	}
	return page, next, nil
}

func (r row) versioned() (Version, error) {
	text, err := r.text()
	return Version{Number: r.Number, Text: text, Note: r.Note, CreatedBy: r.CreatedByName, CreatedAt: r.CreatedAt}, err
}

func loadVersion(tx *gorm.DB, s Script, number int) (Version, error) {
	var rows []row
	err := tx.Table("script_versions v").Select(versionColumns).
		Where("v.tenant_id = ? AND v.script_id = ? AND v.number = ?", s.TenantID, s.ID, number).Scan(&rows).Error
	if err != nil {
		return Version{}, err
	}
	if len(rows) == 0 {
		return Version{}, ErrNoVersion
	}
	return rows[0].versioned()
}

var nameSort = tenantdb.Sort{Name: "name", Columns: []tenantdb.Column{
	{SQL: `lower(s.name) COLLATE "C"`, Kind: tenantdb.Text}, {SQL: "s.id", Kind: tenantdb.UUID}}}

func list(tx *gorm.DB, f Filter, cursor string, limit int) ([]Script, string, error) {
	q := tenantdb.Permitted(current(tx), permRead, "s.tenant_id", scope.Provider)
	if f.Archived {
		q = q.Where("s.archived_at IS NOT NULL")
	} else {
		q = q.Where("s.archived_at IS NULL")
	}
	if f.TenantID != nil {
		q = q.Where("s.tenant_id = ?", *f.TenantID)
	}
	if f.Platform != nil {
		q = q.Where("(s.platforms = '{}' OR ? = ANY (s.platforms))", *f.Platform)
	}
	if f.Text != nil {
		// A library is small: a scan of it costs less than a table of terms.
		part := strings.ToLower(*f.Text)
		q = q.Where("(strpos(lower(s.name), ?) > 0 OR strpos(lower(s.description), ?) > 0)", part, part)
	}
	q, err := nameSort.Page(q, cursor, limit)
	if err != nil {
		return nil, "", err
	}
	var rows []row
	if err := q.Scan(&rows).Error; err != nil {
		return nil, "", err
	}
	rows, next := tenantdb.Next(nameSort, rows, limit, func(r row) []any { return []any{r.NameKey, r.ID} })
	page := make([]Script, len(rows))
	for i, r := range rows {
		if page[i], err = r.script(); err != nil {
			return nil, "", err
		}
	}
	return page, next, nil
}
