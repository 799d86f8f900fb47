package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// The permissions that this package's verbs ask for, over the tenant of the policy.
const (
	permRead   = "policies.read"
	permManage = "policies.manage"
)

// Service keeps policies and what they come to.
type Service struct {
	db *tenantdb.DB
	// atOnce is how many devices a request computes itself; more are left to the sweep.
	atOnce int
}

// New makes the service.
func New(db *tenantdb.DB) *Service { return &Service{db: db, atOnce: 2000} }

// uuids is a list as one parameter.
type uuids = tenantdb.Array[uuid.UUID]

func need(ctx context.Context, permission string, tenant uuid.UUID) error {
	if !scope.From(ctx).May(permission, tenant) {
		return ErrForbidden
	}
	return nil
}

// policyRow is a policy as it is stored.
type policyRow struct {
	Policy
	SpecText []byte `gorm:"column:spec"`
}

func (r policyRow) policy() (Policy, error) {
	if err := json.Unmarshal(r.SpecText, &r.Policy.Spec); err != nil {
		return Policy{}, fmt.Errorf("reading policy %s: %w", r.ID, err)
	}
	return r.Policy, nil
}

func policiesOf(rows []policyRow) ([]Policy, error) {
	found := make([]Policy, len(rows))
	for i, r := range rows {
		p, err := r.policy()
		if err != nil {
			return nil, err
		}
		found[i] = p
	}
	return found, nil
}

const columns = `p.*, coalesce(s.name, d.name, p.tag, t.name, '') as scope_name`

func selectPolicies(tx *gorm.DB) *gorm.DB {
	return tx.Table("policies p").Select(columns).Joins(`left join tenants t on t.id = p.tenant_id
		left join sites s on s.tenant_id = p.tenant_id and s.id = p.site_id
		left join devices d on d.tenant_id = p.tenant_id and d.id = p.device_id`)
}

func policyTx(tx *gorm.DB, id uuid.UUID) (Policy, error) {
	var row policyRow
	err := selectPolicies(tx).Where("p.id = ?", id).Take(&row).Error
	if fault.KindOf(err) == fault.NotFound {
		return Policy{}, ErrNotFound
	}
	if err != nil {
		return Policy{}, err
	}
	return row.policy()
}

// Filter narrows a list; nil means any.
type Filter struct {
	TenantID *uuid.UUID
	Kind     *string
	Scope    *string
}

var newest = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{{SQL: "p.id", Kind: tenantdb.UUID, Descending: true}}}

// List is a page of the policies that the actor may read, and the provider's, which hold for everybody.
func (s *Service) List(ctx context.Context, f Filter, cursor string, limit int) ([]Policy, string, error) {
	var rows []policyRow
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		query := tenantdb.Permitted(selectPolicies(tx), permRead, "p.tenant_id", scope.Provider)
		if f.TenantID != nil {
			query = query.Where("p.tenant_id = ?", *f.TenantID)
		}
		if f.Kind != nil {
			query = query.Where("p.kind = ?", *f.Kind)
		}
		if f.Scope != nil {
			query = query.Where("p.scope = ?", *f.Scope)
		}
		query, err := newest.Page(query, cursor, limit)
		if err != nil {
			return err
		}
		return query.Scan(&rows).Error
	})
	if err != nil {
		return nil, "", err
	}
	rows, next := tenantdb.Next(newest, rows, limit, func(r policyRow) []any { return []any{r.ID} })
	found, err := policiesOf(rows)
	return found, next, err
}

// Policy reads one policy.
func (s *Service) Policy(ctx context.Context, id uuid.UUID) (Policy, error) {
	var found Policy
	err := s.db.Tx(ctx, func(tx *gorm.DB) (err error) {
		if found, err = policyTx(tx, id); err != nil {
			return err
		}
		return mayRead(ctx, found.TenantID)
	})
	return found, err
}

// mayRead lets everybody who reads policies anywhere read the provider's: they hold there too.
func mayRead(ctx context.Context, tenant uuid.UUID) error {
	if tenant == scope.Provider && scope.From(ctx).MayAnywhere(permRead) {
		return nil
	}
	return need(ctx, permRead, tenant)
}

// Create makes a policy and computes what it changes.
func (s *Service) Create(ctx context.Context, n NewPolicy) (Policy, error) {
	if _, err := n.Validate(); err != nil {
		return Policy{}, err
	}
	id := uuid.Must(uuid.NewV7())
	var made Policy
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		if err := s.placeTx(ctx, tx, n); err != nil {
			return err
		}
		if err := lockAloneTx(tx); err != nil {
			return err
		}
		if err := insertTx(tx, id, n); err != nil {
			return err
		}
		var err error
		if made, err = policyTx(tx, id); err != nil {
			return err
		}
		if err := s.reachTx(tx, made); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: n.TenantID, Action: "policy.created", ObjectType: "policy", ObjectID: id.String(),
			ObjectName: n.Name, After: made.public()})
	})
	return made, err
}

// placeTx makes sure that the place exists, is the tenant's, and is the actor's to decide about.
func (s *Service) placeTx(ctx context.Context, tx *gorm.DB, n NewPolicy) error {
	if !scope.From(ctx).Sees(n.TenantID) {
		return ErrPlace
	}
	query := "select count(*) from tenants where id = ?"
	args := []any{n.TenantID}
	switch n.Scope {
	case Site:
		query, args = "select count(*) from sites where tenant_id = ? and id = ?", append(args, *n.ScopeID)
	case Device:
		query, args = "select count(*) from devices where tenant_id = ? and id = ? and state <> 'retired'", append(args, *n.ScopeID)
	}
	var found int
	if err := tx.Raw(query, args...).Scan(&found).Error; err != nil {
		return err
	}
	if found == 0 {
		return ErrPlace
	}
	return need(ctx, permManage, n.TenantID)
}

func insertTx(tx *gorm.DB, id uuid.UUID, n NewPolicy) error {
	var site, device *uuid.UUID
	switch n.Scope {
	case Site:
		site = n.ScopeID
	case Device:
		device = n.ScopeID
	}
	err := tx.Exec(`insert into policies (tenant_id, id, kind, name, scope, site_id, device_id, tag, priority, spec)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?::jsonb)`, n.TenantID, id, string(n.Kind), n.Name, string(n.Scope), site, device, n.Tag,
		n.Priority, string(n.Spec)).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return ErrTaken
	}
	return err
}

// public is what the audit log keeps of a policy.
func (p Policy) public() map[string]any {
	return map[string]any{"kind": p.Kind, "name": p.Name, "scope": p.Scope, "scope_id": p.ScopeID(), "tag": p.Tag, "priority": p.Priority, "spec": p.Spec}
}

// Update changes a policy and computes what that changes.
func (s *Service) Update(ctx context.Context, id uuid.UUID, c Change) (Policy, error) {
	var after Policy
	err := s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := s.ownTx(ctx, tx, id)
		if err != nil {
			return err
		}
		spec, err := c.Validate(before.Kind, before.Scope)
		if err != nil {
			return err
		}
		changes := map[string]any{"updated_at": gorm.Expr("now()")}
		if c.Name != nil {
			changes["name"] = *c.Name
		}
		if c.Priority != nil {
			changes["priority"] = *c.Priority
		}
		if spec != nil {
			changes["spec"] = gorm.Expr("?::jsonb", string(c.Spec))
		}
		query := tx.Table("policies").Where("tenant_id = ? and id = ?", before.TenantID, id)
		if err := tenantdb.UpdateVersion(query, c.Version, changes); err != nil {
			return err
		}
		if after, err = policyTx(tx, id); err != nil {
			return err
		}
		if err := s.reachTx(tx, after); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: before.TenantID, Action: "policy.updated", ObjectType: "policy", ObjectID: id.String(),
			ObjectName: after.Name, Before: before.public(), After: after.public()})
	})
	return after, err
}

// ownTx reads a policy that the actor may change, with the lock on all policies taken.
func (s *Service) ownTx(ctx context.Context, tx *gorm.DB, id uuid.UUID) (Policy, error) {
	if err := lockAloneTx(tx); err != nil {
		return Policy{}, err
	}
	p, err := policyTx(tx, id)
	if err != nil {
		return p, err
	}
	if p.TenantID == scope.Provider && !scope.From(ctx).Sees(p.TenantID) {
		return p, ErrForbidden // readable for every tenant, changed only by the provider
	}
	return p, need(ctx, permManage, p.TenantID)
}

// Delete deletes a policy and computes what that changes.
func (s *Service) Delete(ctx context.Context, id uuid.UUID) error {
	return s.db.Tx(ctx, func(tx *gorm.DB) error {
		before, err := s.ownTx(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := tx.Exec("delete from policies where tenant_id = ? and id = ?", before.TenantID, id).Error; err != nil {
			return err
		}
		if err := s.reachTx(tx, before); err != nil {
			return err
		}
		return audit.WriteTx(tx, audit.Entry{TenantID: before.TenantID, Action: "policy.deleted", ObjectType: "policy", ObjectID: id.String(),
			ObjectName: before.Name, Before: before.public()})
	})
}

// reachTx computes what a change of a policy means for the devices it reaches, at once when they are
// few, and otherwise leaves it to the sweep.
func (s *Service) reachTx(tx *gorm.DB, p Policy) error {
	if reach := tenantdb.ScopeOf(tx).Reach; p.TenantID == scope.Provider && reach != scope.Staff && reach != scope.System {
		return leaveTx(tx, p) // this transaction does not see every device that the policy reaches
	}
	query := tx.Table("devices d").Select("d.id").Where("d.state <> 'retired'")
	if p.TenantID != scope.Provider {
		query = query.Where("d.tenant_id = ?", p.TenantID)
	}
	switch p.Scope {
	case Site:
		query = query.Where("d.site_id = ?", *p.SiteID)
	case Device:
		query = query.Where("d.id = ?", *p.DeviceID)
	case Tag:
		query = query.Where("exists (select 1 from device_tags g where g.tenant_id = d.tenant_id and g.device_id = d.id and g.tag = ?)", *p.Tag)
	}
	var devices []uuid.UUID
	if err := query.Limit(s.atOnce + 1).Scan(&devices).Error; err != nil {
		return err
	}
	if len(devices) <= s.atOnce {
		return recomputeTx(tx, devices)
	}
	return leaveTx(tx, p)
}

// leaveTx leaves the devices of a policy's tenant to the sweep.
func leaveTx(tx *gorm.DB, p Policy) error {
	return tx.Exec("insert into policy_recomputes (tenant_id, id) values (?, ?)", p.TenantID, uuid.Must(uuid.NewV7())).Error
}

// Batch is how many devices the sweep computes in one transaction, during which nobody else
// changes policies, tags or sites.
const Batch = 2000

// SweepRecompute computes the next batch of devices that a far-reaching change left, and tells how many
// it looked at: a full Batch, until the change is worked off.
func (s *Service) SweepRecompute(ctx context.Context) (int, error) {
	n := 0
	err := s.db.System(ctx, func(tx *gorm.DB) error {
		var rows []struct {
			TenantID, ID, AfterDevice uuid.UUID
			CreatedAt                 time.Time
		}
		err := tx.Raw(`select * from policy_recomputes order by id limit 1 for update skip locked`).Scan(&rows).Error
		if err != nil || len(rows) == 0 {
			return err
		}
		work := rows[0]
		if err := lockAloneTx(tx); err != nil {
			return err
		}
		query := tx.Table("devices").Select("id").Where("id > ? and state <> 'retired'", work.AfterDevice)
		if work.TenantID != scope.Provider {
			query = query.Where("tenant_id = ?", work.TenantID)
		}
		var devices []uuid.UUID
		if err := query.Order("id").Limit(Batch).Scan(&devices).Error; err != nil {
			return err
		}
		if err := recomputeTx(tx, devices); err != nil {
			return err
		}
		n = max(len(devices), 1)
		if len(devices) < Batch {
			return tx.Exec("delete from policy_recomputes where tenant_id = ? and id = ?", work.TenantID, work.ID).Error
		}
		return tx.Exec("update policy_recomputes set after_device = ? where tenant_id = ? and id = ?",
			devices[len(devices)-1], work.TenantID, work.ID).Error
	})
	return n, err
}
