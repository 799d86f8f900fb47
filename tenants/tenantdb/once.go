package tenantdb

import (
	"context"
	"sync"

	"gorm.io/gorm"

	"reeve/tenants/scope"
)

// Once is Idempotent for acts that open their own transactions: each that act opens under its context
// joins the one transaction in which the result is stored, so that services need not know of it. A
// joined transaction that fails is undone by itself, as it would be alone; when act fails, everything is
// undone and the key is free again.
func (db *DB) Once(ctx context.Context, k Key, act func(ctx context.Context) (result []byte, err error)) (result []byte, repeated bool, err error) {
	err = db.Tx(ctx, func(tx *gorm.DB) (err error) {
		result, repeated, err = Idempotent(tx, k, func() ([]byte, error) {
			h := &held{b: boundTo(tx)}
			defer h.end()
			return act(context.WithValue(ctx, heldKey{}, h))
		})
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return result, repeated, nil
}

type heldKey struct{}

// held is the transaction of Once, open for others to join.
type held struct {
	b     *bound
	inUse sync.Mutex
	over  bool
}

// end lets later transactions under the context stand on their own again: a hook after commit, say.
func (h *held) end() {
	h.inUse.Lock()
	defer h.inUse.Unlock()
	h.over = true
}

// joinable is the transaction that the context holds open, locked for one use; nil without one.
func joinable(ctx context.Context) *held {
	h, _ := ctx.Value(heldKey{}).(*held)
	if h == nil {
		return nil
	}
	if !h.inUse.TryLock() {
		panic("tenantdb: a transaction inside a transaction; pass tx on instead")
	}
	if h.over {
		h.inUse.Unlock()
		return nil
	}
	return h
}

// join runs fn in the held transaction with the reach of its own scope, and undoes it alone when it fails.
func (db *DB) join(ctx context.Context, h *held, s scope.Scope, id identity, fn func(tx *gorm.DB) error) error {
	defer h.inUse.Unlock()
	if _, err := h.b.tx.ExecContext(ctx, "savepoint reeve_joined"); err != nil {
		return err
	}
	outer, err := identify(h.b.scope)
	if err != nil {
		return err
	}
	b := &bound{sqlTx: h.b.sqlTx, conn: h.b.conn, scope: s, now: h.b.now}
	err = b.enter(ctx, id)
	if err == nil {
		err = fn(db.session(ctx, b))
	}
	if err != nil {
		// Undoes the change of role, too. Should it fail, the transaction is lost with its connection.
		_, _ = h.b.tx.ExecContext(context.WithoutCancel(ctx), "rollback to savepoint reeve_joined")
		return err
	}
	if err := b.enter(ctx, outer); err != nil {
		return err
	}
	if _, err := h.b.tx.ExecContext(ctx, "release savepoint reeve_joined"); err != nil {
		return err
	}
	h.b.hooks = append(h.b.hooks, b.hooks...)
	return nil
}
