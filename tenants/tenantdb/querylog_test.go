package tenantdb_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/tenants/tenantdb"
)

func TestSlowStatementsAreNamedWithoutTheirValues(t *testing.T) {
	t.Parallel()
	url := dbtest.NewURLs(t).App
	for _, c := range []struct {
		slow  time.Duration
		named int
	}{{time.Nanosecond, 1}, {time.Hour, 0}} {
		var out bytes.Buffer
		db, err := tenantdb.Open(t.Context(), tenantdb.Options{URL: url, SlowQuery: c.slow, Log: slog.New(slog.NewTextHandler(&out, nil))})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
			return tx.Exec("select 1 as named where ? <> ''", "hunter2").Error
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		if strings.Count(text, "slow query") != c.named || strings.Count(text, "as named") != c.named || strings.Contains(text, "hunter2") {
			t.Errorf("slow from %s: %s", c.slow, text)
		}
	}
}

func BenchmarkTx(b *testing.B) {
	db := dbtest.New(b)
	ctx := dbtest.System(b)
	for b.Loop() {
		err := db.Tx(ctx, func(tx *gorm.DB) error {
			var n int64
			return tx.Table("tenants").Count(&n).Error
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
