//go:build linux

package tenantdb_test

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/migrations"
	"reeve/server/privatedb"
	"reeve/tenants/scope"
)

// While the database dies and comes back, callers are told to try again, nothing that was acknowledged
// is lost, and no connection has to be opened by hand.
func TestTheDatabaseMayDieAndComeBack(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "reeve-outage-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	cluster, err := privatedb.Start(t.Context(), privatedb.Options{Dir: dir, Log: dbtest.Log(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cluster.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if err := migrations.Up(t.Context(), cluster.MigratorURL, dbtest.Log(t)); err != nil {
		t.Fatal(err)
	}
	db := dbtest.Open(t, cluster.AppURL)
	ctx := dbtest.System(t)
	put := func() error {
		return db.Tx(ctx, func(tx *gorm.DB) error {
			return tx.Exec("insert into settings (tenant_id, domain, spec) values (?, ?, '{}')", uuid.UUID(scope.Provider), uuid.NewString()).Error
		})
	}
	var acknowledged, refused atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for died, late := false, time.After(time.Minute); ; {
				err := put()
				switch {
				case err == nil:
					acknowledged.Add(1)
					if died {
						return
					}
				case fault.KindOf(err) == fault.Unavailable:
					refused.Add(1)
					died = true
				default:
					t.Errorf("not what a client should be told: %v", err)
					return
				}
				select {
				case <-late:
					t.Error("it did not come back")
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	for acknowledged.Load() < 20 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		acknowledged.Add(1)
	}
	if err := syscall.Kill(cluster.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	var stored int64
	err = db.Tx(ctx, func(tx *gorm.DB) error { return tx.Table("settings").Count(&stored).Error })
	// More may be stored than was acknowledged: an answer can get lost, too.
	if err != nil || stored < acknowledged.Load() || refused.Load() == 0 {
		t.Errorf("%d acknowledged, %d stored, %d refused, %v", acknowledged.Load(), stored, refused.Load(), err)
	}
}
