package dbtest

import (
	"testing"

	"gorm.io/gorm"
)

func TestNewGivesAMigratedDatabaseWithTheProvider(t *testing.T) {
	t.Parallel()
	db := New(t)
	var n int64
	err := db.Tx(System(t), func(tx *gorm.DB) error {
		return tx.Table("tenants").Count(&n).Error
	})
	if err != nil || n != 1 {
		t.Fatalf("tenants: %d, %v", n, err)
	}
}
