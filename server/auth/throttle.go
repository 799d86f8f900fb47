package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

// throttleRule is how many guesses are free and how the wait grows beyond.
type throttleRule struct {
	free   int
	first  time.Duration // the wait after the last free guess; it doubles with each further one
	most   time.Duration
	window time.Duration // guesses are forgotten when none was made for so long
}

// Three counters stand in the way of guessing. The tightest is of one account from one address, so
// that a stranger who guesses slows down himself and not the owner; the one of the account as a whole
// stops many addresses, and waits briefly, because it is the one that could lock an owner out.
var (
	pairRule    = throttleRule{free: 5, first: 15 * time.Second, most: 15 * time.Minute, window: time.Hour}
	accountRule = throttleRule{free: 30, first: 5 * time.Second, most: 2 * time.Minute, window: time.Hour}
	addressRule = throttleRule{free: 60, first: 15 * time.Second, most: 15 * time.Minute, window: 20 * time.Minute}
)

// waitAfter is how long to wait after the n-th guess in a row.
func (r throttleRule) waitAfter(n int) time.Duration {
	if n < r.free {
		return 0
	}
	wait := r.first
	for range min(n-r.free, 30) {
		if wait *= 2; wait >= r.most {
			return r.most
		}
	}
	return min(wait, r.most)
}

type throttle struct {
	key    string
	rule   throttleRule
	shared bool // others are counted by it too
}

// throttlesFor are the counters of a guess about an account from an address.
func throttlesFor(account, address string) []throttle {
	account, address = strings.ToLower(strings.TrimSpace(account)), network(address)
	list := []throttle{{key: digest("address", address), rule: addressRule}}
	if account != "" {
		list = append(list, throttle{key: digest("account", account), rule: accountRule},
			throttle{key: digest("pair", account+" "+address), rule: pairRule})
	}
	// One order for everybody who locks them.
	slices.SortFunc(list, func(a, b throttle) int { return strings.Compare(a.key, b.key) })
	return list
}

// network is whom an address belongs to: an IPv6 subscriber has a whole /64.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	if a = a.Unmap(); a.Is4() {
		return a.String()
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return address
	}
	return p.String()
}

func digest(kind, value string) string {
	sum := sha256.Sum256([]byte(kind + " " + value))
	return kind + ":" + hex.EncodeToString(sum[:16])
}

// reserve counts a guess before it is checked, so that guesses made at once are all counted, and
// refuses it while the account or the address has to wait.
func (s *Service) reserve(ctx context.Context, list []throttle) error {
	return s.DB.System(ctx, func(tx *gorm.DB) error {
		now := tenantdb.Now(tx)
		counts := make([]int, len(list))
		for i, t := range list {
			if err := tx.Exec("INSERT INTO login_throttles (key, failures, last_at) VALUES (?, 0, ?) ON CONFLICT DO NOTHING", t.key, now).Error; err != nil {
				return err
			}
			var row struct {
				Failures     int
				LastAt       time.Time
				BlockedUntil *time.Time
			}
			err := tx.Raw("SELECT failures, last_at, blocked_until FROM login_throttles WHERE key = ? FOR UPDATE", t.key).Scan(&row).Error
			if err != nil {
				return err
			}
			if row.BlockedUntil != nil && row.BlockedUntil.After(now) {
				return &fault.Error{Kind: fault.RateLimited, Message: "too many attempts; wait a little", RetryAfter: row.BlockedUntil.Sub(now)}
			}
			if now.Sub(row.LastAt) <= t.rule.window {
				counts[i] = row.Failures
			}
		}
		for i, t := range list {
			n := counts[i] + 1
			var until *time.Time
			if wait := t.rule.waitAfter(n); wait > 0 {
				at := now.Add(wait)
				until = &at
			}
			if err := tx.Exec("UPDATE login_throttles SET failures = ?, last_at = ?, blocked_until = ? WHERE key = ?", n, now, until, t.key).Error; err != nil {
				return err
			}
		}
		return nil
	})
}

// ownThrottles are the counters of what somebody who is signed in guesses about themselves. They are not
// those of signing in: strangers who guess must not keep a person from confirming who they are.
func ownThrottles(self scope.Actor) []throttle {
	return throttlesFor("user "+uuid.UUID(self.ID).String(), self.Address)
}

// withoutNamesakes are the counters that a right password for the account may clear. An e-mail address is
// unique within a tenant only: whoever has the same one elsewhere must not clear those of its owner, and
// gets back no more than their own try.
func withoutNamesakes(tx *gorm.DB, email string, list []throttle) ([]throttle, error) {
	var namesakes int64
	err := tx.Raw(`SELECT count(*) FROM users WHERE lower(email) COLLATE "C" = lower(? COLLATE "C")`, strings.TrimSpace(email)).Scan(&namesakes).Error
	if err != nil || namesakes <= 1 {
		return list, err
	}
	list = slices.Clone(list)
	for i := range list {
		list[i].shared = true
	}
	return list, nil
}

// forgive takes back what was counted for a guess that was right. The address keeps its other guesses:
// one's own account must not wash a stranger's clean.
func forgive(tx *gorm.DB, list []throttle) error {
	for _, t := range list {
		sql := "DELETE FROM login_throttles WHERE key = ?"
		if t.shared || strings.HasPrefix(t.key, "address:") {
			sql = "UPDATE login_throttles SET failures = greatest(failures - 1, 0), blocked_until = NULL WHERE key = ?"
		}
		if err := tx.Exec(sql, t.key).Error; err != nil {
			return err
		}
	}
	return nil
}
