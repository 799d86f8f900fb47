package fleet

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// Credential is what proves who a device is.
type Credential struct {
	DeviceID  uuid.UUID
	TenantID  uuid.UUID
	Name      string
	PublicKey []byte
	State     State
}

// CredentialsTx reads the credentials of devices; those that do not exist are left out.
func CredentialsTx(tx *gorm.DB, devices []uuid.UUID) ([]Credential, error) {
	var found []Credential
	err := tx.Raw("select id as device_id, tenant_id, name, public_key, state from devices where id = any(?::uuid[])", ids(devices)).Scan(&found).Error
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	return found, nil
}

// StateChange is a change of a device's state, as replicas hear of it.
type StateChange struct {
	ID             uuid.UUID
	State          State
	StateChangedAt time.Time
}

// RecentChangesTx reads which devices changed their state within the last while, by the database's
// clock: for replicas that may have missed the message about it.
func RecentChangesTx(tx *gorm.DB, within time.Duration) ([]StateChange, error) {
	var found []StateChange
	err := tx.Raw(`select id, state, state_changed_at from devices where state_changed_at > now() - ? * interval '1 second'`,
		within.Seconds()).Scan(&found).Error
	return found, err
}
