package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/tenants/scope"
)

// ring is a key ring in memory.
type ring struct {
	kid  string
	keys map[string]ed25519.PrivateKey
}

func newRing(kids ...string) *ring {
	r := &ring{kid: kids[0], keys: map[string]ed25519.PrivateKey{}}
	for _, kid := range kids {
		_, key, _ := ed25519.GenerateKey(rand.Reader)
		r.keys[kid] = key
	}
	return r
}

func (r *ring) Signer(context.Context) (string, ed25519.PrivateKey, error) {
	return r.kid, r.keys[r.kid], nil
}

func (r *ring) Public(_ context.Context, kid string) (ed25519.PublicKey, error) {
	key, ok := r.keys[kid]
	if !ok {
		return nil, errors.New("unknown key")
	}
	return key.Public().(ed25519.PublicKey), nil
}

var testNow = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// mutation changes one thing about a token that is otherwise right.
type mutation struct {
	name   string
	header map[string]any // nil value = remove
	claims map[string]any
	method jwt.SigningMethod
	key    any
}

func forge(t *testing.T, method jwt.SigningMethod, key any, header, claims map[string]any, m mutation) string {
	t.Helper()
	if m.method != nil {
		method, key = m.method, m.key
	} else if m.key != nil {
		key = m.key
	}
	merged := jwt.MapClaims{}
	for k, v := range claims {
		merged[k] = v
	}
	for k, v := range m.claims {
		if merged[k] = v; v == nil {
			delete(merged, k)
		}
	}
	tok := jwt.NewWithClaims(method, merged)
	for k, v := range header {
		tok.Header[k] = v
	}
	for k, v := range m.header {
		if tok.Header[k] = v; v == nil {
			delete(tok.Header, k)
		}
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	return s
}

// tampered are the ways to alter a finished token.
func tampered(token string) map[string]string {
	parts := strings.Split(token, ".")
	swap := func(header string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + parts[1] + "."
	}
	flipped := []byte(parts[2])
	flipped[5] ^= 1
	var claims map[string]any
	raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
	_ = json.Unmarshal(raw, &claims)
	claims["sub"] = uuid.NewString()
	other, _ := json.Marshal(claims)
	return map[string]string{
		"none":               swap(`{"alg":"none","typ":"reeve-access+jwt","kid":"k1"}`),
		"None":               swap(`{"alg":"None","typ":"reeve-access+jwt","kid":"k1"}`),
		"none, signature on": swap(`{"alg":"none"}`) + parts[2],
		"signature flipped":  parts[0] + "." + parts[1] + "." + string(flipped),
		"signature dropped":  parts[0] + "." + parts[1] + ".",
		"two parts":          parts[0] + "." + parts[1],
		"four parts":         token + "." + parts[2],
		"other subject":      parts[0] + "." + base64.RawURLEncoding.EncodeToString(other) + "." + parts[2],
		"many dots":          strings.Repeat(".", 3000),
		"oversized":          token + strings.Repeat("A", maxTokenSize),
		"empty":              "",
		"spaces":             " " + token,
	}
}

func accessHeaderAndClaims() (header, claims map[string]any) {
	return map[string]any{"typ": accessType, "kid": "k1"}, map[string]any{
		"iss": issuer, "aud": []string{apiAudience}, "sub": uuid.NewString(), "tid": uuid.NewString(), "sid": uuid.NewString(),
		"iat": testNow.Unix(), "nbf": testNow.Unix(), "exp": testNow.Add(AccessTTL).Unix(), "auth_time": testNow.Unix(), "use": "full",
	}
}

func TestAccessTokenRoundTrip(t *testing.T) {
	tokens := NewTokens(newRing("k1"), func() time.Time { return testNow })
	for _, want := range []Access{
		{User: newID(), Tenant: scope.Provider, Session: newID(), AuthTime: testNow, Use: UseFull},
		{User: newID(), Tenant: newID(), Session: newID(), AuthTime: testNow, SteppedUp: testNow, Use: UseEnrol},
	} {
		token, ttl, err := tokens.Issue(t.Context(), want)
		if err != nil || ttl != AccessTTL {
			t.Fatal(ttl, err)
		}
		got, err := tokens.Read(t.Context(), token)
		if err != nil || got.User != want.User || got.Tenant != want.Tenant || got.Session != want.Session ||
			!got.AuthTime.Equal(want.AuthTime) || !got.SteppedUp.Equal(want.SteppedUp) || got.Use != want.Use {
			t.Errorf("got %+v, want %+v, err %v", got, want, err)
		}
	}
}

func TestAccessTokenMatrix(t *testing.T) {
	keys := newRing("k1", "k2")
	tokens := NewTokens(keys, func() time.Time { return testNow })
	header, claims := accessHeaderAndClaims()
	key := keys.keys["k1"]
	if _, err := tokens.Read(t.Context(), forge(t, jwt.SigningMethodEdDSA, key, header, claims, mutation{})); err != nil {
		t.Fatalf("the unaltered token: %v", err)
	}
	stranger := newRing("k1").keys["k1"]
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) int64 { return testNow.Add(d).Unix() }
	matrix := []mutation{
		{name: "HS256 with the public key", method: jwt.SigningMethodHS256, key: []byte(key.Public().(ed25519.PublicKey))},
		{name: "RS256", method: jwt.SigningMethodRS256, key: rsaKey},
		{name: "alg none", method: jwt.SigningMethodNone, key: jwt.UnsafeAllowNoneSignatureType},
		{name: "signed by a stranger", key: stranger},
		{name: "signed by another key than kid says", key: keys.keys["k2"]},
		{name: "unknown kid", header: map[string]any{"kid": "k9"}},
		{name: "no kid", header: map[string]any{"kid": nil}},
		{name: "kid of another type", header: map[string]any{"kid": 1}},
		{name: "no typ", header: map[string]any{"typ": nil}},
		{name: "plain typ", header: map[string]any{"typ": "JWT"}},
		{name: "endpoint typ", header: map[string]any{"typ": wire.TokenType}},
		{name: "no issuer", claims: map[string]any{"iss": nil}},
		{name: "other issuer", claims: map[string]any{"iss": "evil"}},
		{name: "no audience", claims: map[string]any{"aud": nil}},
		{name: "endpoint audience", claims: map[string]any{"aud": wire.Audience}},
		{name: "expired", claims: map[string]any{"exp": at(-10 * time.Second), "iat": at(-5 * time.Minute), "nbf": at(-5 * time.Minute)}},
		{name: "no expiry", claims: map[string]any{"exp": nil}},
		{name: "not yet valid", claims: map[string]any{"nbf": at(time.Minute)}},
		{name: "no nbf", claims: map[string]any{"nbf": nil}},
		{name: "issued in the future", claims: map[string]any{"iat": at(time.Minute)}},
		{name: "lives too long", claims: map[string]any{"exp": at(time.Hour)}},
		{name: "no subject", claims: map[string]any{"sub": nil}},
		{name: "subject is no id", claims: map[string]any{"sub": "admin"}},
		{name: "no tenant", claims: map[string]any{"tid": nil}},
		{name: "no session", claims: map[string]any{"sid": nil}},
		{name: "unknown use", claims: map[string]any{"use": "root"}},
		{name: "no use", claims: map[string]any{"use": nil}},
		{name: "expiry as text", claims: map[string]any{"exp": "tomorrow"}},
	}
	for _, m := range matrix {
		_, err := tokens.Read(t.Context(), forge(t, jwt.SigningMethodEdDSA, key, header, claims, m))
		if fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	good := forge(t, jwt.SigningMethodEdDSA, key, header, claims, mutation{})
	for name, token := range tampered(good) {
		if _, err := tokens.Read(t.Context(), token); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEndpointClaimMatrix(t *testing.T) {
	device := newID()
	id := uuid.UUID(device).String()
	public, key, _ := ed25519.GenerateKey(rand.Reader)
	_, stranger, _ := ed25519.GenerateKey(rand.Reader)
	header := map[string]any{"typ": wire.TokenType, "kid": id}
	claims := map[string]any{"iss": id, "sub": id, "aud": wire.Audience, "iat": testNow.Unix(), "exp": testNow.Add(time.Minute).Unix()}
	at := func(d time.Duration) int64 { return testNow.Add(d).Unix() }
	sign := func(m mutation) string { return forge(t, jwt.SigningMethodEdDSA, key, header, claims, m) }

	good := sign(mutation{})
	if got, err := EndpointDevice(good); err != nil || got != device {
		t.Fatal(got, err)
	}
	for _, m := range []mutation{
		{name: "unaltered"},
		{name: "a little early", claims: map[string]any{"iat": at(20 * time.Second), "exp": at(80 * time.Second)}},
		{name: "a little late", claims: map[string]any{"iat": at(-80 * time.Second), "exp": at(-20 * time.Second)}},
	} {
		if err := VerifyEndpoint(sign(m), device, public, testNow); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	for _, m := range []mutation{
		{name: "an hour early", claims: map[string]any{"iat": at(time.Hour), "exp": at(61 * time.Minute)}},
		{name: "a day late", claims: map[string]any{"iat": at(-24 * time.Hour), "exp": at(-24*time.Hour + time.Minute)}},
		{name: "valid only later", claims: map[string]any{"nbf": at(45 * time.Second)}},
	} {
		if err := VerifyEndpoint(sign(m), device, public, testNow); fault.KindOf(err) != fault.ClockSkew {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	for _, m := range []mutation{
		{name: "stranger's key", key: stranger},
		{name: "stranger's key and wrong time", key: stranger, claims: map[string]any{"iat": at(time.Hour), "exp": at(61 * time.Minute)}},
		{name: "HS256 with the public key", method: jwt.SigningMethodHS256, key: []byte(public)},
		{name: "alg none", method: jwt.SigningMethodNone, key: jwt.UnsafeAllowNoneSignatureType},
		{name: "other device in kid", header: map[string]any{"kid": uuid.NewString()}},
		{name: "no kid", header: map[string]any{"kid": nil}},
		{name: "access typ", header: map[string]any{"typ": accessType}},
		{name: "api audience", claims: map[string]any{"aud": apiAudience}},
		{name: "no audience", claims: map[string]any{"aud": nil}},
		{name: "api audience and wrong time", claims: map[string]any{"aud": apiAudience, "iat": at(time.Hour), "exp": at(61 * time.Minute)}},
		{name: "server as issuer", claims: map[string]any{"iss": issuer}},
		{name: "other subject", claims: map[string]any{"sub": uuid.NewString()}},
		{name: "no subject", claims: map[string]any{"sub": nil}},
		{name: "no expiry", claims: map[string]any{"exp": nil}},
		{name: "no iat", claims: map[string]any{"iat": nil}},
		{name: "three minutes long", claims: map[string]any{"exp": at(3 * time.Minute)}},
		{name: "negative life", claims: map[string]any{"exp": at(-time.Minute)}},
		{name: "valid after its end", claims: map[string]any{"nbf": at(time.Hour)}},
	} {
		if err := VerifyEndpoint(sign(m), device, public, testNow); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: %v", m.name, err)
		}
	}
	for name, token := range tampered(good) {
		if err := VerifyEndpoint(token, device, public, testNow); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := VerifyEndpoint(good, device, public[:31], testNow); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("a short key: %v", err)
	}
}

func TestTokensOfPeopleAndEndpointsDoNotCross(t *testing.T) {
	keys := newRing("k1")
	tokens := NewTokens(keys, func() time.Time { return testNow })
	access, _, err := tokens.Issue(t.Context(), Access{User: newID(), Tenant: newID(), Session: newID(), AuthTime: testNow, Use: UseFull})
	if err != nil {
		t.Fatal(err)
	}
	device := newID()
	id := uuid.UUID(device).String()
	claim := forge(t, jwt.SigningMethodEdDSA, keys.keys["k1"], map[string]any{"typ": wire.TokenType, "kid": id},
		map[string]any{"iss": id, "sub": id, "aud": wire.Audience, "iat": testNow.Unix(), "exp": testNow.Add(time.Minute).Unix()}, mutation{})
	if err := VerifyEndpoint(access, device, keys.keys["k1"].Public().(ed25519.PublicKey), testNow); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("an access token passed as an endpoint's claim: %v", err)
	}
	if _, err := tokens.Read(t.Context(), claim); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("an endpoint's claim passed as an access token: %v", err)
	}
}

func FuzzReadAccessToken(f *testing.F) {
	tokens := NewTokens(newRing("k1"), func() time.Time { return testNow })
	f.Add("a.b.c")
	f.Add(strings.Repeat(".", 100))
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + ".e30.")
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := tokens.Read(context.Background(), token); fault.KindOf(err) != fault.Unauthenticated {
			t.Fatalf("%q: %v", token, err)
		}
		_, _ = EndpointDevice(token)
	})
}
