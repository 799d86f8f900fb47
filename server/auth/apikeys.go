package auth

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

const (
	maxKeyLife   = 2 * 366 * 24 * time.Hour
	maxKeysEach  = 100 // of one maker, in force
	usedInterval = time.Minute
)

// APIKey is a program's credential. It acts for the person who made it and never holds more than they
// do, now or later.
type APIKey struct {
	ID            uuid.UUID
	TenantID      uuid.UUID // where its maker lives
	UserID        uuid.UUID
	MakerEmail    string
	Name          string
	Permissions   []string
	AllTenants    bool
	TenantIDs     []uuid.UUID
	Networks      []string // CIDR; empty means from anywhere
	CreatedAt     time.Time
	ExpiresAt     time.Time
	LastUsedAt    *time.Time
	LastUsedFrom  string
	RevokedAt     *time.Time
	makerDisabled bool
	seen          []string // networks that it came from before
}

// Prefix is the beginning of the key, to recognise it by.
func (k APIKey) Prefix() string { return apiKeyPrefix + strings.ReplaceAll(k.ID.String(), "-", "") }

// NewAPIKey is what it takes to make a key.
type NewAPIKey struct {
	Name        string
	Permissions []string
	AllTenants  bool
	TenantIDs   []uuid.UUID // when not AllTenants; a customer's own tenant when empty
	Networks    []string    // CIDR or single addresses
	ExpiresAt   time.Time
}

// normalize reports every faulty field, and writes networks and permissions in their one form.
func (n *NewAPIKey) normalize(maker scope.Scope, now time.Time) error {
	var f fault.Fields
	n.Name = strings.TrimSpace(n.Name)
	f.Check(len(n.Name) >= 1 && len([]rune(n.Name)) <= 120 && !strings.ContainsFunc(n.Name, isControl), "/name", "give 1 to 120 characters")
	f.Check(n.ExpiresAt.After(now) && n.ExpiresAt.Before(now.Add(maxKeyLife)), "/expires_at", "must lie ahead, by at most two years")
	f.Check(len(n.Permissions) > 0, "/permissions", "name at least one")
	known := tenants.KeyPermissions()
	for i, p := range n.Permissions {
		f.Check(slices.Contains(known, p), fmt.Sprintf("/permissions/%d", i), "%q is not a permission that a key can hold", p)
	}
	for i, text := range n.Networks {
		p, err := parseNetwork(text)
		if err != nil {
			f.Add(fmt.Sprintf("/allowed_networks/%d", i), "%q is not a network such as 192.0.2.0/24", text)
			continue
		}
		n.Networks[i] = p.String()
	}
	if !maker.IsStaff() && len(n.TenantIDs) == 0 {
		n.TenantIDs = []uuid.UUID{maker.Actor.TenantID}
	}
	f.Check(!n.AllTenants || len(n.TenantIDs) == 0, "/tenant_ids", "leave tenants out when the key is for all")
	f.Check(n.AllTenants || len(n.TenantIDs) > 0, "/tenant_ids", "name the tenants that the key is for")
	slices.Sort(n.Permissions)
	n.Permissions = slices.Compact(n.Permissions)
	return f.Err()
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7f }

func parseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(text)
	return p.Masked(), err
}

// within refuses a key that would hold what its maker does not hold. Emergency access does not count.
func (n *NewAPIKey) within(maker scope.Scope) error {
	for _, p := range n.Permissions {
		if n.AllTenants && !maker.MayEverywhere(p) {
			return ErrKeyTooStrong
		}
		for _, t := range n.TenantIDs {
			if !maker.May(p, t) {
				return ErrKeyTooStrong
			}
		}
	}
	return nil
}

func withoutEmergency(s scope.Scope) scope.Scope {
	s.Grants = slices.DeleteFunc(slices.Clone(s.Grants), func(g scope.Grant) bool { return g.Emergency })
	return s
}

// CreateAPIKey makes a key; its secret is shown once.
func (s *Service) CreateAPIKey(ctx context.Context, n NewAPIKey) (k APIKey, secret string, err error) {
	self, err := selfOf(ctx)
	if err != nil {
		return k, "", err
	}
	maker := withoutEmergency(scope.From(ctx))
	if !maker.MayAnywhere("api_keys.manage") {
		return k, "", ErrNotPermitted
	}
	if !maker.SteppedUp {
		return k, "", ErrStepUpRequired
	}
	n.Networks, n.Permissions = slices.Clone(n.Networks), slices.Clone(n.Permissions)
	if err := n.normalize(maker, s.Now()); err != nil {
		return k, "", err
	}
	if err := n.within(maker); err != nil {
		return k, "", err
	}
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		k, secret, err = insertKey(tx, self, n)
		return err
	})
	return k, secret, err
}

func insertKey(tx *gorm.DB, maker scope.Actor, n NewAPIKey) (APIKey, string, error) {
	var inForce int64
	err := tx.Raw("SELECT count(*) FROM api_keys WHERE tenant_id = ? AND user_id = ? AND revoked_at IS NULL AND expires_at > now()",
		uuid.UUID(maker.TenantID), uuid.UUID(maker.ID)).Scan(&inForce).Error
	if err != nil {
		return APIKey{}, "", err
	}
	if inForce >= maxKeysEach {
		return APIKey{}, "", fault.Newf(fault.Conflict, "you have %d keys in force; revoke one first", inForce)
	}
	k := APIKey{ID: newID(), TenantID: maker.TenantID, UserID: maker.ID, MakerEmail: maker.Name, Name: n.Name, Permissions: n.Permissions,
		AllTenants: n.AllTenants, TenantIDs: n.TenantIDs, Networks: n.Networks, CreatedAt: tenantdb.Now(tx), ExpiresAt: n.ExpiresAt}
	secret, hash := NewAPIKeySecret(k.ID)
	lists, err := encodeLists(n.Permissions, n.TenantIDs, n.Networks)
	if err != nil {
		return k, "", err
	}
	err = tx.Exec(`INSERT INTO api_keys (tenant_id, id, user_id, name, hash, permissions, all_tenants, tenants, networks, created_at, expires_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, k.TenantID, k.ID, k.UserID, k.Name, hash[:], lists[0], k.AllTenants, lists[1], lists[2],
		k.CreatedAt, k.ExpiresAt).Error
	if err != nil {
		return k, "", fmt.Errorf("storing an API key: %w", err)
	}
	return k, secret, audit.WriteTx(tx, k.entry("api_key.created"))
}

// encodeLists writes lists as the JSON columns hold them, empty ones as [].
func encodeLists(permissions []string, ids []uuid.UUID, networks []string) (texts [3]string, err error) {
	for i, list := range []any{append([]string{}, permissions...), append([]uuid.UUID{}, ids...), append([]string{}, networks...)} {
		raw, err := json.Marshal(list)
		if err != nil {
			return texts, err
		}
		texts[i] = string(raw)
	}
	return texts, nil
}

func (k APIKey) entry(action string) audit.Entry {
	return audit.Entry{TenantID: k.TenantID, Action: action, ObjectType: "api_key", ObjectID: k.ID.String(), ObjectName: k.Name,
		Detail: map[string]any{"maker": k.MakerEmail, "permissions": k.Permissions, "all_tenants": k.AllTenants, "tenant_ids": k.TenantIDs,
			"networks": k.Networks, "expires_at": k.ExpiresAt}}
}

// keyRow is a key as it is stored.
type keyRow struct {
	ID              uuid.UUID
	TenantID        uuid.UUID
	UserID          uuid.UUID
	Email           string
	State           tenants.UserState
	TenantState     tenants.State
	Name            string
	Hash            []byte
	Permissions     string
	AllTenants      bool
	Tenants         string
	Networks        string
	CreatedAt       time.Time
	ExpiresAt       time.Time
	LastUsedAt      *time.Time
	LastUsedAddress *string
	SeenNetworks    string
	RevokedAt       *time.Time
}

const keyColumns = `api_keys.id, api_keys.tenant_id, api_keys.user_id, u.email, u.state, t.state AS tenant_state, api_keys.name, api_keys.hash,
	api_keys.permissions, api_keys.all_tenants, api_keys.tenants, api_keys.networks, api_keys.created_at, api_keys.expires_at,
	api_keys.last_used_at, api_keys.last_used_address, api_keys.seen_networks, api_keys.revoked_at`

const keyJoins = `JOIN users u ON u.tenant_id = api_keys.tenant_id AND u.id = api_keys.user_id JOIN tenants t ON t.id = api_keys.tenant_id`

func (r keyRow) key() (APIKey, error) {
	k := APIKey{ID: r.ID, TenantID: r.TenantID, UserID: r.UserID, MakerEmail: r.Email, Name: r.Name, AllTenants: r.AllTenants,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastUsedAt: r.LastUsedAt, RevokedAt: r.RevokedAt,
		makerDisabled: r.State != tenants.UserActive || r.TenantState != tenants.Active}
	if r.LastUsedAddress != nil {
		k.LastUsedFrom = *r.LastUsedAddress
	}
	for _, list := range []struct {
		text string
		into any
	}{{r.Permissions, &k.Permissions}, {r.Tenants, &k.TenantIDs}, {r.Networks, &k.Networks}, {r.SeenNetworks, &k.seen}} {
		if err := json.Unmarshal([]byte(list.text), list.into); err != nil {
			return k, fmt.Errorf("reading API key %s: %w", r.ID, err)
		}
	}
	return k, nil
}

var keysNewestFirst = tenantdb.Sort{Name: "newest", Columns: []tenantdb.Column{
	{SQL: "api_keys.created_at", Kind: tenantdb.Instant, Descending: true}, {SQL: "api_keys.id", Kind: tenantdb.UUID, Descending: true}}}

// APIKeys is a page of the keys of the tenants whose keys the actor may read, and of the actor's own.
func (s *Service) APIKeys(ctx context.Context, cursor string, limit int) (page []APIKey, next string, err error) {
	sc := scope.From(ctx)
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		q := tx.Table("api_keys").Select(keyColumns).Joins(keyJoins)
		if list, everywhere := sc.Permitted("api_keys.read"); !everywhere {
			ids := []uuid.UUID{uuid.Nil}
			for _, id := range list {
				ids = append(ids, id)
			}
			q = q.Where("(api_keys.tenant_id IN ? OR api_keys.user_id = ?)", ids, uuid.UUID(sc.Actor.Person()))
		}
		q, err := keysNewestFirst.Page(q, cursor, limit)
		if err != nil {
			return err
		}
		var rows []keyRow
		if err := q.Find(&rows).Error; err != nil {
			return err
		}
		rows, next = tenantdb.Next(keysNewestFirst, rows, limit, func(r keyRow) []any { return []any{r.CreatedAt, r.ID} })
		for _, r := range rows {
			k, err := r.key()
			if err != nil {
				return err
			}
			page = append(page, k)
		}
		return nil
	})
	return page, next, err
}

// RevokeAPIKey ends a key for good: one's own, or one of a tenant whose keys the actor manages.
func (s *Service) RevokeAPIKey(ctx context.Context, id uuid.UUID) error {
	self, err := selfOf(ctx)
	if err != nil {
		return err
	}
	sc := scope.From(ctx)
	return s.DB.System(ctx, func(tx *gorm.DB) error {
		k, _, err := findKey(tx, id)
		if err != nil {
			return err
		}
		if k.UserID != self.ID && !sc.May("api_keys.manage", k.TenantID) || k.RevokedAt != nil {
			return ErrKeyNotFound
		}
		err = tx.Exec("UPDATE api_keys SET revoked_at = ? WHERE tenant_id = ? AND id = ?", tenantdb.Now(tx), k.TenantID, k.ID).Error
		if err != nil {
			return err
		}
		s.tellRevoked(tx, k.ID)
		return audit.WriteTx(tx, k.entry("api_key.revoked"))
	})
}

func findKey(tx *gorm.DB, id uuid.UUID) (k APIKey, hash []byte, err error) {
	var r keyRow
	err = tx.Table("api_keys").Select(keyColumns).Joins(keyJoins).Where("api_keys.id = ?", id).Take(&r).Error
	if fault.KindOf(err) == fault.NotFound {
		return k, nil, ErrKeyNotFound
	}
	if err != nil {
		return k, nil, err
	}
	k, err = r.key()
	return k, r.Hash, err
}

// authenticateKey computes what a key may do now: what it was given, as far as its maker still holds it.
func (s *Service) authenticateKey(ctx context.Context, bearer, address string) (sc scope.Scope, err error) {
	id, given, err := ParseAPIKey(bearer)
	if err != nil {
		return sc, err
	}
	var k APIKey
	err = s.DB.System(ctx, func(tx *gorm.DB) error {
		var hash []byte
		if k, hash, err = findKey(tx, id); err != nil {
			return ended(err)
		}
		if subtle.ConstantTimeCompare(hash, given[:]) != 1 || k.RevokedAt != nil || k.makerDisabled || !tenantdb.Now(tx).Before(k.ExpiresAt) {
			return ErrUnauthenticated
		}
		if !k.allows(address) {
			return fault.Wrap(fault.Unauthenticated, ErrUnauthenticated.Message, fmt.Errorf("API key %s is not for use from %s", k.ID, address))
		}
		grants, _, err := grantsOf(tx, k.UserID)
		if err != nil {
			return err
		}
		sc = k.scope(tenants.ScopeOf(k.TenantID, grants, nil))
		sc.Actor.Address, sc.Actor.RequestID = address, scope.From(ctx).Actor.RequestID
		return nil
	})
	if err != nil {
		return scope.Scope{}, err
	}
	return sc, s.noteUse(scope.With(ctx, sc), k, address)
}

// allows tells whether the key may be used from an address; what is no address never is.
func (k APIKey) allows(address string) bool {
	if len(k.Networks) == 0 {
		return true
	}
	a, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(k.Networks, func(text string) bool {
		p, err := parseNetwork(text)
		return err == nil && p.Contains(a.Unmap().WithZone(""))
	})
}

// scope is the intersection of what the key was given and what its maker holds.
func (k APIKey) scope(maker scope.Scope) scope.Scope {
	sc := scope.Scope{Actor: scope.Actor{Kind: scope.APIKey, ID: k.ID, MakerID: k.UserID, TenantID: k.TenantID, Name: k.Name}}
	allowed := tenants.KeyPermissions()
	for _, g := range maker.Grants {
		var held []string
		for _, p := range g.Permissions {
			if slices.Contains(k.Permissions, p) && slices.Contains(allowed, p) {
				held = append(held, p)
			}
		}
		switch {
		case len(held) == 0:
		case g.AllTenants && k.AllTenants:
			sc.Grants = append(sc.Grants, scope.Grant{AllTenants: true, Permissions: held})
		case g.AllTenants:
			for _, t := range k.TenantIDs {
				sc.Grants = append(sc.Grants, scope.Grant{TenantID: t, Permissions: held})
			}
		case k.AllTenants || slices.Contains(k.TenantIDs, uuid.UUID(g.TenantID)):
			sc.Grants = append(sc.Grants, scope.Grant{TenantID: g.TenantID, Permissions: held})
		}
	}
	everywhere := slices.ContainsFunc(sc.Grants, func(g scope.Grant) bool { return g.AllTenants })
	switch {
	case maker.Reach == scope.Tenant:
		sc.Reach, sc.Tenants = scope.Tenant, maker.Tenants
	case everywhere && maker.Reach == scope.Staff:
		sc.Reach = scope.Staff
	default:
		sc.Reach = scope.Granted
		for _, g := range sc.Grants {
			if !slices.Contains(sc.Tenants, g.TenantID) {
				sc.Tenants = append(sc.Tenants, g.TenantID)
			}
		}
	}
	return sc
}

// maxSeenNetworks bounds what is remembered of where a key came from; beyond, every network is known.
const maxSeenNetworks = 50

// noteUse writes down when and from where a key was used, at most once a minute, and the first time it
// comes from a network also in the audit log.
func (s *Service) noteUse(ctx context.Context, k APIKey, address string) error {
	from := network(address)
	fresh := !slices.Contains(k.seen, from) && len(k.seen) < maxSeenNetworks
	if !fresh && k.LastUsedAt != nil && s.Now().Sub(*k.LastUsedAt) < usedInterval {
		return nil
	}
	return s.DB.System(ctx, func(tx *gorm.DB) error {
		// Requests at once do not queue for the row: one of them notes it, the others pass by.
		var seen []string
		err := tx.Raw("SELECT seen_networks FROM api_keys WHERE tenant_id = ? AND id = ? FOR UPDATE SKIP LOCKED", k.TenantID, k.ID).Scan(&seen).Error
		if err != nil || len(seen) == 0 {
			return err
		}
		known := []string{}
		if err := json.Unmarshal([]byte(seen[0]), &known); err != nil {
			return err
		}
		fresh := !slices.Contains(known, from) && len(known) < maxSeenNetworks
		if fresh {
			known = append(known, from)
		}
		text, err := json.Marshal(known)
		if err != nil {
			return err
		}
		err = tx.Exec("UPDATE api_keys SET last_used_at = ?, last_used_address = ?, seen_networks = ? WHERE tenant_id = ? AND id = ?",
			tenantdb.Now(tx), address, string(text), k.TenantID, k.ID).Error
		if err != nil || !fresh {
			return err
		}
		e := k.entry("api_key.used_from_new_network")
		e.Detail = map[string]any{"network": from, "maker": k.MakerEmail}
		return audit.WriteTx(tx, e)
	})
}
