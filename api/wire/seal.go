package wire

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// A secret for a device is sealed to the key it enrolled with: the Ed25519 identity is mapped to its
// X25519 twin (the same secret scalar, the birationally equivalent point), and HPKE does the rest.
// One key per device means nothing more to enrol, pin or rotate; the mapping is the one that age and
// Signal use, and signing and agreement with one such key pair do not weaken each other.

// sealVersion separates these boxes from anything else sealed to the same key.
const sealVersion = "reeve-seal-1 "

// MaxSealed bounds the plaintext of a box.
const MaxSealed = 64 * 1024

var errSealed = errors.New("the sealed secret cannot be opened with this key")

// Seal encrypts a secret so that only the holder of the device's private key can read it. label says
// what the secret is for, and must be the same on opening.
func Seal(device ed25519.PublicKey, label string, secret []byte) ([]byte, error) {
	if len(secret) > MaxSealed {
		return nil, fmt.Errorf("a sealed secret may have at most %d bytes", MaxSealed)
	}
	public, err := montgomeryPublic(device)
	if err != nil {
		return nil, err
	}
	recipient, err := hpke.NewDHKEMPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("using the device's key: %w", err)
	}
	return hpke.Seal(recipient, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealVersion+label), secret)
}

// Unseal decrypts what Seal made for this device and label.
func Unseal(device ed25519.PrivateKey, label string, sealed []byte) ([]byte, error) {
	if len(device) != ed25519.PrivateKeySize {
		return nil, errors.New("the device's key has a wrong size")
	}
	scalar := sha512.Sum512(device.Seed())
	private, err := ecdh.X25519().NewPrivateKey(scalar[:32]) // X25519 clamps as Ed25519 does
	if err != nil {
		return nil, fmt.Errorf("using the device's key: %w", err)
	}
	key, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("using the device's key: %w", err)
	}
	secret, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealVersion+label), sealed)
	if err != nil {
		return nil, errSealed
	}
	return secret, nil
}

var fieldPrime = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

// montgomeryPublic maps an Edwards point to u = (1+y)/(1-y). Everything in it is public, so that plain
// arithmetic is fine.
func montgomeryPublic(public ed25519.PublicKey) (*ecdh.PublicKey, error) {
	if len(public) != ed25519.PublicKeySize {
		return nil, errors.New("the device's key has a wrong size")
	}
	bigEndian := slices.Clone(public)
	bigEndian[31] &= 0x7f // the sign of x
	slices.Reverse(bigEndian)
	y := new(big.Int).SetBytes(bigEndian)
	one := big.NewInt(1)
	if y.Cmp(fieldPrime) >= 0 || y.Cmp(one) == 0 {
		return nil, errors.New("the device's key is not a point of the curve")
	}
	denominator := new(big.Int).Sub(one, y)
	denominator.Mod(denominator, fieldPrime)
	u := new(big.Int).Add(one, y)
	u.Mul(u, new(big.Int).ModInverse(denominator, fieldPrime))
	u.Mod(u, fieldPrime)
	raw := u.FillBytes(make([]byte, 32))
	slices.Reverse(raw)
	return ecdh.X25519().NewPublicKey(raw)
}
