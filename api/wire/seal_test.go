package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"testing"
)

func TestSealIsForOneDeviceAndOneLabel(t *testing.T) {
	for range 50 { // many keys: the mapping must hold for every point
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		_, other, _ := ed25519.GenerateKey(rand.Reader)
		sealed, err := Seal(public, "task 1", []byte("the secret"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Unseal(private, "task 1", sealed); err != nil || string(got) != "the secret" {
			t.Fatalf("%q %v", got, err)
		}
		if _, err := Unseal(other, "task 1", sealed); err == nil {
			t.Error("another device opened it")
		}
		if _, err := Unseal(private, "task 2", sealed); err == nil {
			t.Error("it opened under another label")
		}
		sealed[len(sealed)-1] ^= 1
		if _, err := Unseal(private, "task 1", sealed); err == nil {
			t.Error("a damaged box opened")
		}
	}
}

func TestSealRefusesBadKeys(t *testing.T) {
	one := make(ed25519.PublicKey, 32)
	one[0] = 1
	for name, key := range map[string]ed25519.PublicKey{
		"short": make([]byte, 31), "neutral point": one, "low order": make([]byte, 32), "beyond the field": bytes.Repeat([]byte{0xff}, 32),
	} {
		if _, err := Seal(key, "x", []byte("y")); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	if _, err := Seal(public, "x", make([]byte, MaxSealed+1)); err == nil {
		t.Error("an oversized secret was sealed")
	}
	for _, sealed := range [][]byte{nil, make([]byte, 31), make([]byte, 48)} {
		if _, err := Unseal(private, "x", sealed); err == nil {
			t.Errorf("%d zero bytes opened", len(sealed))
		}
	}
	if _, err := Unseal(private[:10], "x", nil); err == nil {
		t.Error("a short private key was used")
	}
}

func TestServerKeysVouchForTheirSuccessors(t *testing.T) {
	oldPublic, old, _ := ed25519.GenerateKey(rand.Reader)
	next, _, _ := ed25519.GenerateKey(rand.Reader)
	k := ServerKey{KeyID: "task-2", Public: next, SignedBy: "task-1"}
	k.Signature = ed25519.Sign(old, k.Statement("task"))
	trusted := map[string]ed25519.PublicKey{"task-1": oldPublic}
	if !k.VouchedFor("task", trusted) {
		t.Fatal("a vouched key is refused")
	}
	renamed := k
	renamed.KeyID = "task-3"
	swapped := k
	swapped.Public = oldPublic
	for name, ok := range map[string]bool{
		"other purpose": k.VouchedFor("access", trusted), "renamed": renamed.VouchedFor("task", trusted), "swapped": swapped.VouchedFor("task", trusted),
		"unknown voucher": k.VouchedFor("task", map[string]ed25519.PublicKey{"task-9": oldPublic}), "nobody trusted": k.VouchedFor("task", nil),
	} {
		if ok {
			t.Errorf("%s: accepted", name)
		}
	}
}
