package tenantdb_test

import (
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"pgregory.net/rapid"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/tenants/scope"
	"reeve/tenants/tenantdb"
)

func asUUID(id scope.ID) uuid.UUID { return id }

var everyKind = tenantdb.Sort{Name: "all", Columns: []tenantdb.Column{
	{SQL: "a", Kind: tenantdb.Text}, {SQL: "b", Kind: tenantdb.Int}, {SQL: "c", Kind: tenantdb.Decimal},
	{SQL: "d", Kind: tenantdb.Bool}, {SQL: "e", Kind: tenantdb.Instant}, {SQL: "f", Kind: tenantdb.UUID},
}}

func TestACursorComesBackAsItWent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := []any{
			strings.ReplaceAll(rapid.String().Draw(t, "text"), "\x00", ""),
			rapid.Int64().Draw(t, "int"),
			fmt.Sprintf("%d.%02d", rapid.Int32().Draw(t, "units"), rapid.IntRange(0, 99).Draw(t, "cents")),
			rapid.Bool().Draw(t, "bool"),
			time.UnixMicro(rapid.Int64Range(-1<<50, 1<<50).Draw(t, "instant")).UTC(),
			uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid")),
		}
		got, err := everyKind.Decode(everyKind.Encode(values...))
		if err != nil || !slices.Equal(got, values) {
			t.Fatalf("%v came back as %v, %v", values, got, err)
		}
	})
}

func TestABadCursorIsTheClientsFault(t *testing.T) {
	t.Parallel()
	s := tenantdb.Sort{Name: "name", Columns: []tenantdb.Column{{SQL: "name", Kind: tenantdb.Text}, {SQL: "id", Kind: tenantdb.UUID}}}
	good := s.Encode("x", uuid.New())
	raw := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	id := uuid.NewString()
	for name, cursor := range map[string]string{
		"not base64":       "*",
		"padded":           good + "=",
		"cut off":          good[:len(good)-3],
		"not JSON":         raw("hello"),
		"another sort":     everyKind.Encode("x", 1, "1", true, time.Now(), uuid.New()),
		"another version":  raw(`{"v":2,"s":"name","k":["x","` + id + `"]}`),
		"an unknown field": raw(`{"v":1,"s":"name","k":["x","` + id + `"],"x":1}`),
		"something after":  raw(`{"v":1,"s":"name","k":["x","` + id + `"]} 1`),
		"a value too few":  raw(`{"v":1,"s":"name","k":["x"]}`),
		"a null":           raw(`{"v":1,"s":"name","k":[null,"` + id + `"]}`),
		"a number":         raw(`{"v":1,"s":"name","k":[1,"` + id + `"]}`),
		"no UUID":          raw(`{"v":1,"s":"name","k":["x","urn:uuid:` + id + `"]}`),
		"a NUL":            raw(`{"v":1,"s":"name","k":["\u0000","` + id + `"]}`),
		"huge":             strings.Repeat("A", 1<<20),
	} {
		_, err := s.Decode(cursor)
		f, ok := fault.As(err)
		if !ok || f.Kind != fault.Invalid || len(f.Fields) != 1 || f.Fields[0].Pointer != "?cursor" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(everyKind.Encode("x", int64(math.MaxInt64), "1.00", true, time.Unix(0, 0), uuid.Nil))
	f.Add("e30")
	f.Add("")
	f.Fuzz(func(t *testing.T, cursor string) {
		values, err := everyKind.Decode(cursor)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("%v", err)
			}
			return
		}
		// What is accepted means something: it survives another round.
		again, err := everyKind.Decode(everyKind.Encode(values...))
		if err != nil || !slices.Equal(again, values) {
			t.Fatalf("%v became %v, %v", values, again, err)
		}
	})
}

// Walking a list page by page meets every row once, in order, whatever the directions and the limit.
func TestPagesCoverTheListExactlyOnce(t *testing.T) {
	t.Parallel()
	db := dbtest.New(t)
	ctx := dbtest.Staff(t)
	makeTenants(t, db, 30)
	err := db.Tx(dbtest.System(t), func(tx *gorm.DB) error {
		return tx.Exec("update tenants set name = 'Tenant ' || (ascii(right(slug, 1)) % 4), version = 1 + ascii(right(slug, 1)) % 3").Error
	})
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		ID      uuid.UUID
		Name    string
		Version int64
	}
	column := func(sql string, kind tenantdb.Kind, down bool) tenantdb.Column {
		return tenantdb.Column{SQL: sql, Kind: kind, Descending: down}
	}
	for directions := range 8 {
		s := tenantdb.Sort{Name: "mixed", Columns: []tenantdb.Column{
			column(`name COLLATE "C"`, tenantdb.Text, directions&1 > 0), column("version", tenantdb.Int, directions&2 > 0), column("id", tenantdb.UUID, directions&4 > 0)}}
		var all []row
		err := db.Tx(ctx, func(tx *gorm.DB) error {
			q, err := s.Page(tx.Table("tenants"), "", 1000)
			if err != nil {
				return err
			}
			return q.Find(&all).Error
		})
		if err != nil || len(all) != 31 {
			t.Fatalf("%d rows, %v", len(all), err)
		}
		for _, limit := range []int{1, 7, 30, 31, 32} {
			var walked []row
			for cursor, first := "", true; first || cursor != ""; first = false {
				err := db.Tx(ctx, func(tx *gorm.DB) error {
					q, err := s.Page(tx.Table("tenants").Where("version > 0 or version < 0"), cursor, limit)
					if err != nil {
						return err
					}
					var page []row
					if err := q.Find(&page).Error; err != nil {
						return err
					}
					page, cursor = tenantdb.Next(s, page, limit, func(r row) []any { return []any{r.Name, r.Version, r.ID} })
					walked = append(walked, page...)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(walked, all) {
				t.Errorf("directions %b, limit %d: %d rows, not the %d of the list in their order", directions, limit, len(walked), len(all))
			}
		}
	}
}

func TestThePageSizeIsBounded(t *testing.T) {
	t.Parallel()
	s := tenantdb.Sort{Name: "id", Columns: []tenantdb.Column{{SQL: "id", Kind: tenantdb.UUID}}}
	for _, limit := range []int{-1, 1001} {
		if _, err := s.Page(nil, "", limit); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%d: %v", limit, err)
		}
	}
	if tenantdb.PageSize(0) != 50 || tenantdb.PageSize(7) != 7 {
		t.Error("page size")
	}
}
