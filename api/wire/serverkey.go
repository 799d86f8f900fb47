package wire

import (
	"crypto/ed25519"
	"encoding/binary"
)

// ServerKey is a public key of the server as endpoints learn it: the first one is pinned at
// enrolment, each later one is signed by one before it.
type ServerKey struct {
	KeyID     string
	Public    ed25519.PublicKey
	SignedBy  string // key id of the voucher; empty for the very first key
	Signature []byte
}

// Statement is what the voucher signs. purpose keeps a key for one use from being passed off for another.
func (k ServerKey) Statement(purpose string) []byte {
	b := []byte("reeve-server-key-1")
	for _, field := range [][]byte{[]byte(purpose), []byte(k.KeyID), k.Public} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(field)))
		b = append(b, field...)
	}
	return b
}

// VouchedFor tells whether one of the trusted keys signed this one.
func (k ServerKey) VouchedFor(purpose string, trusted map[string]ed25519.PublicKey) bool {
	voucher, known := trusted[k.SignedBy]
	return known && len(voucher) == ed25519.PublicKeySize && len(k.Public) == ed25519.PublicKeySize &&
		ed25519.Verify(voucher, k.Statement(purpose), k.Signature)
}
