package tenantdb_test

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"reeve/server/dbtest"
)

func TestTimesAreReadInUTC(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	var row struct {
		At    time.Time
		Maybe *time.Time
	}
	err := db.System(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Raw("select now() as at, now() as maybe").Scan(&row).Error
	})
	if err != nil || row.At.Location() != time.UTC || row.Maybe.Location() != time.UTC {
		t.Errorf("read in %v and %v: %v", row.At.Location(), row.Maybe.Location(), err)
	}
}
