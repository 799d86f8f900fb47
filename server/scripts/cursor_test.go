package scripts_test

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/server/dbtest"
	"reeve/server/scripts"
)

// A made-up cursor is the client's fault, also where its number is none that the column could hold.
func TestACursorBeyondTheColumnIsRefused(t *testing.T) {
	t.Parallel()
	s, staff := scripts.New(dbtest.New(t)), dbtest.Staff(t, all...)
	made, err := s.Create(staff, hello(uuid.Nil, "Hello"))
	must(t, err)
	for number, want := range map[string]fault.Kind{"-9223372036854775808": fault.Invalid, "2147483648": fault.Invalid, "2147483647": ""} {
		cursor := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"v":1,"s":"number","k":[%q]}`, number))
		_, _, err := s.Versions(staff, made.ID, cursor, 10)
		if (err != nil || want != "") && fault.KindOf(err) != want {
			t.Errorf("after %s: %v", number, err)
		}
	}
}
