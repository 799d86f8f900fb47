package auth

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"reeve/api/fault"
)

// cheap keeps the tests off the two cores; the parameters are part of each hash anyway.
var cheap = HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}

func newHasher(t testing.TB, params HashParams) *Hasher {
	t.Helper()
	h, err := NewHasher(params, 2)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHasherVerifiesAndRenews(t *testing.T) {
	ctx := t.Context()
	old, now := newHasher(t, cheap), newHasher(t, HashParams{MemoryKiB: 128, Passes: 2, Lanes: 1})
	phc, err := old.Hash(ctx, "violet harbour 91")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(phc, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("parameters are not recorded: %s", phc)
	}
	for _, c := range []struct {
		name      string
		h         *Hasher
		password  string
		ok, renew bool
	}{
		{"right", old, "violet harbour 91", true, false},
		{"right under stronger parameters", now, "violet harbour 91", true, true},
		{"wrong", now, "violet harbour 92", false, false},
		{"oversized", now, strings.Repeat("x", maxPasswordBytes+1), false, false},
	} {
		ok, renew, err := c.h.Verify(ctx, c.password, phc)
		if err != nil || ok != c.ok || renew != c.renew {
			t.Errorf("%s: ok %v renew %v err %v", c.name, ok, renew, err)
		}
	}
}

func TestHasherRefusesDamagedAndHugeHashes(t *testing.T) {
	h := newHasher(t, cheap)
	for _, phc := range []string{
		"", "x", "$argon2i$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19$m=64,t=999,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=19$m=64,t=1,p=1$$", "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$",
	} {
		if ok, _, err := h.Verify(t.Context(), "p", phc); ok || err == nil {
			t.Errorf("%q was accepted: ok %v err %v", phc, ok, err)
		}
	}
}

func TestHasherCapsConcurrency(t *testing.T) {
	h, err := NewHasher(cheap, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Hash(ctx, "waiting"); err == nil {
		t.Fatal("a second hash ran beside the first")
	}
	h.release()
	if _, err := h.Hash(t.Context(), "free"); err != nil {
		t.Fatal(err)
	}
}

func TestCheckPassword(t *testing.T) {
	usual := PasswordOwner{Email: "martha.quint@northwind-it.example", Name: "Martha Quint"}
	strict := PasswordOwner{Email: "joe@harbour.example", Name: "Joe Field", MinLength: 16}
	for _, c := range []struct {
		password string
		owner    PasswordOwner
		ok       bool
	}{
		{"violet harbour 91", usual, true},
		{"n8#kfPq2vLx!", usual, true},
		{"n8#kfPq2vLx", usual, false}, // 11 characters
		{"n8#kfPq2vLx!7Rw", strict, false},
		{"n8#kfPq2vLx!7Rwz", strict, true},
		{"P@ssw0rd2024!!", usual, false},
		{"Password1Password1", usual, false},
		{"correct-horse-battery-staple", usual, false},
		{"aaaaaaaaaaaaaa", usual, false},
		{"abababababab", usual, false},
		{"123456789012", usual, false},
		{"qwertyuiopasdf", usual, false},
		{"zyxwvutsrqponm", usual, false},
		{"likes Martha very much", usual, false},
		{"the northwind-it crew", usual, false},
		{"QUINT and others 77", usual, false},
		{"\xff\xfe aaaa bbbb cccc", usual, false},
		{strings.Repeat("abcdefgh1", 200), usual, false},
	} {
		err := CheckPassword("/password", c.password, c.owner)
		if (err == nil) != c.ok {
			t.Errorf("%q: %v", c.password, err)
		}
		if err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: kind %s", c.password, fault.KindOf(err))
		}
	}
}

func TestTOTPAcceptsAStepOnce(t *testing.T) {
	secret, err := NewTOTP("Reeve", "a@b.example")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 12, 0, 10, 0, time.UTC)
	code := totpAt(t, secret.Secret, now)
	step, ok := VerifyTOTP(secret.Secret, code[:3]+" "+code[3:], now, 0)
	if !ok {
		t.Fatal("a right code was refused")
	}
	if _, ok := VerifyTOTP(secret.Secret, code, now.Add(5*time.Second), step); ok {
		t.Error("the same code was accepted twice")
	}
	if _, ok := VerifyTOTP(secret.Secret, totpAt(t, secret.Secret, now.Add(-30*time.Second)), now, step); ok {
		t.Error("an older code was accepted after a newer one")
	}
	for _, off := range []time.Duration{-30 * time.Second, 30 * time.Second} {
		if _, ok := VerifyTOTP(secret.Secret, totpAt(t, secret.Secret, now.Add(off)), now, 0); !ok {
			t.Errorf("a phone %s off was refused", off)
		}
	}
	for _, off := range []time.Duration{-90 * time.Second, 90 * time.Second} {
		if _, ok := VerifyTOTP(secret.Secret, totpAt(t, secret.Secret, now.Add(off)), now, 0); ok {
			t.Errorf("a phone %s off was accepted", off)
		}
	}
	for _, bad := range []string{"", "12345", "1234567", "abcdef", code + "0"} {
		if _, ok := VerifyTOTP(secret.Secret, bad, now, 0); ok {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func totpAt(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(secret, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestRecoveryCodesForgiveTyping(t *testing.T) {
	codes, stored := NewRecoveryCodes()
	if len(codes) != recoveryCodes || len(stored) != recoveryCodes {
		t.Fatalf("%d codes, %d stored", len(codes), len(stored))
	}
	typed := " " + strings.ToUpper(strings.ReplaceAll(codes[3], "-", " ")) + " "
	if recoveryFingerprint(typed) != stored[3] {
		t.Error("a code typed with spaces in capitals is not recognised")
	}
	if recoveryFingerprint(codes[2]) == stored[3] {
		t.Error("two codes are equal")
	}
}

func TestOpaqueCredentials(t *testing.T) {
	id := newID()
	key, stored := NewAPIKeySecret(id)
	gotID, gotStored, err := ParseAPIKey(key)
	if err != nil || gotID != id || gotStored != stored || !IsAPIKey(key) {
		t.Fatalf("key %s: %v", key, err)
	}
	for _, bad := range []string{"", "reeve_key_", key[:len(key)-1], key + "x", strings.Replace(key, "reeve_key_", "reeve_kex_", 1),
		strings.Replace(key, "reeve_key_", "reeve_key_z", 1), "reeve_key_" + strings.Repeat("z", 32) + key[42:]} {
		if _, _, err := ParseAPIKey(bad); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%q: %v", bad, err)
		}
	}
	plain, want := NewEnrolmentToken("")
	pinned, wantPinned := NewEnrolmentToken("sha256-abcdef")
	if got, ca, err := ParseEnrolmentToken(plain); err != nil || got != want || ca != "" {
		t.Errorf("plain token: %v %q", err, ca)
	}
	if got, ca, err := ParseEnrolmentToken(pinned); err != nil || got != wantPinned || ca != "sha256-abcdef" {
		t.Errorf("pinned token: %v %q", err, ca)
	}
	if _, _, err := ParseEnrolmentToken("reeve_enrol_short"); fault.KindOf(err) != fault.Unauthenticated {
		t.Error("a short token was read")
	}
	a, _ := NewRefreshToken()
	b, _ := NewRefreshToken()
	if a == b || FingerprintOf(a) == FingerprintOf(b) {
		t.Error("refresh tokens repeat")
	}
}
