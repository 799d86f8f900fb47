package tenantdb

import (
	"bytes"
	"fmt"
	"time"

	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

// Key names one request of one actor, so that a repetition is recognised. Keys of different operations
// do not meet.
type Key struct {
	ActorID   scope.ID // who asks, as in the scope
	Operation string   // the operationId
	Key       string   // the client's Idempotency-Key; "" turns the mechanism off
	BodyHash  []byte   // a digest of the request; another one under the same key is refused
}

// ErrKeyReused is the fault of a key that came back with another request.
var ErrKeyReused = fault.New(fault.Conflict, "this Idempotency-Key was used for another request")

// Idempotent runs fn once per key and answers repetitions with the stored result. Result and effects
// commit together; when fn fails, nothing is stored and the request may be repeated. A repetition that
// arrives while the first still runs waits for it.
//
// It must be the first statement of the transaction's work: the key's row is the lock.
func Idempotent(tx *gorm.DB, k Key, fn func() (result []byte, err error)) (result []byte, replayed bool, err error) {
	if k.Key == "" {
		result, err = fn()
		return result, false, err
	}
	if len(k.Key) > 255 {
		return nil, false, fault.InvalidField("Idempotency-Key", "must have at most 255 characters")
	}
	if k.ActorID == (scope.ID{}) || k.Operation == "" || len(k.BodyHash) == 0 {
		return nil, false, fmt.Errorf("idempotency: the key %+v is incomplete", k)
	}
	actor := uuidOf(k.ActorID)
	claim := tx.Exec(`insert into idempotency_keys (actor_id, operation, key, body_hash) values (?, ?, ?, ?)
		on conflict do nothing`, actor, k.Operation, k.Key, k.BodyHash)
	if claim.Error != nil {
		return nil, false, claim.Error
	}
	where := "actor_id = ? and operation = ? and key = ?"
	if claim.RowsAffected == 0 {
		var stored struct{ BodyHash, Result []byte }
		err := tx.Table("idempotency_keys").Select("body_hash", "result").
			Where(where, actor, k.Operation, k.Key).Take(&stored).Error
		if err != nil {
			return nil, false, err
		}
		if !bytes.Equal(stored.BodyHash, k.BodyHash) {
			return nil, false, ErrKeyReused
		}
		return stored.Result, true, nil
	}
	if result, err = fn(); err != nil {
		return nil, false, err
	}
	err = tx.Table("idempotency_keys").Where(where, actor, k.Operation, k.Key).Update("result", result).Error
	return result, false, err
}

// ForgetKeys deletes up to limit idempotency keys older than before, as the system, and returns how many.
func ForgetKeys(tx *gorm.DB, before time.Time, limit int) (int64, error) {
	done := tx.Exec(`delete from idempotency_keys where (actor_id, operation, key) in
		(select actor_id, operation, key from idempotency_keys where created_at < ? order by created_at limit ? for update skip locked)`,
		before, limit)
	return done.RowsAffected, done.Error
}
