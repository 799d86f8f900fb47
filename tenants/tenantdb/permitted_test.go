package tenantdb_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

func TestListsKeepToWhatIsPermitted(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	a, b := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	err := db.System(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Exec("insert into tenants (id, name, slug, zone) values (?, 'A', 'a', 'UTC'), (?, 'B', 'b', 'UTC')", a, b).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	both := dbtest.Granted(t, []scope.ID{a, b}, "sites.read")
	mixed := scope.From(both)
	mixed.Grants[0].Permissions = []string{"sites.read", "users.read"}
	ctx := scope.With(t.Context(), mixed)
	for _, c := range []struct {
		name, permission string
		also             []uuid.UUID
		want             []uuid.UUID
	}{
		{"held over both", "sites.read", nil, []uuid.UUID{a, b}},
		{"held over one", "users.read", nil, []uuid.UUID{a}},
		{"held over none", "audit.read", nil, nil},
		{"the provider's too", "users.read", []uuid.UUID{scope.Provider}, []uuid.UUID{scope.Provider, a}},
		{"nothing of the provider's for nobody", "audit.read", []uuid.UUID{scope.Provider}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uuid.UUID
			err := db.Tx(ctx, func(tx *gorm.DB) error {
				q := tenantdb.Permitted(tx.Table("tenants").Select("id"), c.permission, "tenants.id", c.also...)
				return q.Order("id").Scan(&got).Error
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

// A null array would turn <> ALL (?) into nothing at all.
func TestAnEmptyArrayIsNotNull(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	var null, none bool
	err := db.System(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Raw("select ?::uuid[] is null, 1 <> all (?::int8[])", tenantdb.Array[uuid.UUID](nil), tenantdb.Array[int64](nil)).Row().Scan(&null, &none)
	})
	if err != nil || null || !none {
		t.Errorf("null %v, all %v: %v", null, none, err)
	}
}
