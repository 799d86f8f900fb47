package auth

import (
	"testing"

	"reeve/server/dbtest"
)

// BenchmarkAuthenticate is what every request pays before its handler: nothing of it is cached.
func BenchmarkAuthenticate(b *testing.B) {
	w := openBench(b)
	u := w.owner()
	_, key := w.key(w.as(w.login(u.Email).AccessToken), NewAPIKey{Permissions: []string{"devices.read"}, AllTenants: true})
	for name, bearer := range map[string]string{"session": w.login(u.Email).AccessToken, "key": key} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.Authenticate(dbtest.System(b), bearer, here); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkHash is one sign-in's worth of argon2id at the default cost, on one core.
func BenchmarkHash(b *testing.B) {
	h, err := NewHasher(DefaultHashParams, 1)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := h.Hash(b.Context(), goodPassword); err != nil {
			b.Fatal(err)
		}
	}
}
