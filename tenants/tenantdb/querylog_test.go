package tenantdb_test

import (
	"bytes"
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
	var out bytes.Buffer
	db, err := tenantdb.Open(t.Context(), tenantdb.Options{URL: dbtest.NewURLs(t).App, SlowQuery: 20 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		if err := tx.Exec("select 1 where ? = 'quick'", "quick").Error; err != nil {
			return err
		}
		return tx.Exec("select pg_sleep(0.03) where ? <> ''", "hunter2").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Count(text, "slow query") != 1 || !strings.Contains(text, "pg_sleep") || strings.Contains(text, "hunter2") || strings.Contains(text, "quick") {
		t.Errorf("log: %s", text)
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
