// Package secrets seals what must not be readable in the database: a master key outside of it wraps
// one data key per tenant, which seals the tenant's secrets.
package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"reeve/api/fault"
	"reeve/tenants/scope"
)

const (
	keyBytes      = 32
	formatVersion = 1
	// headerBytes precede a sealed secret: format and version of the data key.
	headerBytes = 5
)

// Errors of opening. Which of a secret's bindings is wrong is not told apart: they are all tampering.
var (
	ErrTampered = fault.New(fault.Internal, "a stored secret cannot be opened: it was damaged or moved")
	ErrShredded = fault.New(fault.Gone, "the secrets of this tenant were destroyed")
)

// binding ties a ciphertext to its place: moved to another tenant, column or row it does not open.
func binding(tenant scope.ID, purpose string, row scope.ID) []byte {
	b := []byte("reeve-secret-1")
	b = append(b, tenant[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(purpose)))
	b = append(b, purpose...)
	return append(b, row[:]...)
}

// seal is AES-256-GCM with a random nonce in front. A data key seals far fewer than the 2^32 messages
// for which random nonces are safe.
func seal(key, plaintext, aad []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce)
	return gcm.Seal(nonce, nonce, plaintext, aad), nil
}

func open(key, sealed, aad []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(sealed) < gcm.NonceSize() {
		return nil, errors.New("too short")
	}
	return gcm.Open(nil, sealed[:gcm.NonceSize()], sealed[gcm.NonceSize():], aad)
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func newKey() []byte {
	key := make([]byte, keyBytes)
	rand.Read(key)
	return key
}
