package dbtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/tenants/tenantdb"
)

func countTenants(t *testing.T, db *tenantdb.DB) (n int64) {
	t.Helper()
	if err := db.Tx(System(t), func(tx *gorm.DB) error { return tx.Table("tenants").Count(&n).Error }); err != nil {
		t.Error(err)
	}
	return n
}

func TestEveryDatabaseIsFreshAndItsOwn(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	for i := range 4 {
		db := New(t)
		wg.Go(func() {
			for j := range i {
				err := db.Tx(System(t), func(tx *gorm.DB) error {
					return tx.Exec("insert into tenants (id, name, slug) values (?, 'x', ?)", uuid.New(), fmt.Sprintf("x%d", j)).Error
				})
				if err != nil {
					t.Error(err)
				}
			}
			if n := countTenants(t, db); n != int64(i)+1 {
				t.Errorf("database %d has %d tenants, the provider included", i, n)
			}
		})
	}
	wg.Wait()
}

func TestTheContextsAreWhatTheySay(t *testing.T) {
	t.Parallel()
	db := New(t)
	tenant := uuid.New()
	for want, ctx := range map[string]context.Context{
		"reeve_system": System(t), "reeve_staff": Staff(t, "x"), "reeve_tenant": Tenant(t, tenant), "reeve_granted": Granted(t, [][16]byte{tenant}),
	} {
		err := db.Tx(ctx, func(tx *gorm.DB) error {
			var role string
			err := tx.Raw("select current_user").Scan(&role).Error
			if role != want {
				t.Errorf("acts as %s, not as %s", role, want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// stop ends a cluster that is not the shared one.
func stop(t *testing.T, c *cluster) {
	t.Helper()
	if err := c.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestClustersOfSeveralProcessesAndOfBrokenOnes(t *testing.T) {
	t.Parallel()
	root, err := os.MkdirTemp("/tmp", "reeve-dbtest-self-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	if err := os.Chmod(root, 0o711); err != nil {
		t.Fatal(err)
	}
	first, err := start(root)
	if err != nil {
		t.Fatal(err)
	}
	second, err := start(root)
	if err != nil {
		t.Fatal(err)
	}
	if first.Dir == second.Dir {
		t.Errorf("both run in %s", first.Dir)
	}
	first.exec(t, "CREATE DATABASE test_forgotten")
	first.exec(t, "CREATE DATABASE reeve_template_old")
	stop(t, second)
	stop(t, first)

	again, err := start(root)
	if err != nil {
		t.Fatal(err)
	}
	if again.Dir != first.Dir {
		t.Errorf("the free folder %s is left, %s was taken", first.Dir, again.Dir)
	}
	again.exec(t, "CREATE DATABASE test_forgotten") // fails if it is still there
	again.exec(t, "CREATE DATABASE reeve_template_old")
	stop(t, again)

	if err := os.WriteFile(filepath.Join(first.Dir, "data", "global", "pg_control"), []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	repaired, err := start(root)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, repaired)
}
