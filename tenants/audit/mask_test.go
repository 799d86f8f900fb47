package audit

import (
	"math"
	"strings"
	"testing"
)

type maskedThing struct {
	Name     string `json:"name"`
	Hidden   string `json:"hidden" audit:"secret"`
	Key      string `json:"key" audit:"plain"`
	Password string `json:"password"`
	Count    int    `audit:"-"`
	Nested   []struct {
		APIToken string `json:"apiToken"`
		Code     string `audit:"secret"`
	} `json:"nested"`
	Mail map[string]string `json:"mail"`
}

func TestSecretsAreMasked(t *testing.T) {
	before := maskedThing{Name: "n", Hidden: "canary-1", Key: "asset_no", Password: "canary-2",
		Mail: map[string]string{"host": "mx", "SMTP_PASSWORD": "canary-3", "public_key": "open-1"}}
	after := before
	after.Password = "canary-4"
	after.Nested = append(after.Nested, struct {
		APIToken string `json:"apiToken"`
		Code     string `audit:"secret"`
	}{"canary-5", "canary-6"})
	b, a, err := documents(before, after)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b) + string(a)
	if strings.Contains(text, "Count") {
		t.Errorf("a field that is left out is in the log: %s", text)
	}
	if strings.Contains(text, "canary") {
		t.Errorf("a secret is in the log: %s", text)
	}
	for _, want := range []string{`"key":"asset_no"`, `"public_key":"open-1"`, `"host":"mx"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing in %s", want, text)
		}
	}
	if !strings.Contains(string(a), `"password":"(secret, changed)"`) || !strings.Contains(string(a), `"hidden":"(secret)"`) {
		t.Errorf("changes are not told apart: %s", a)
	}
}

func TestSecretNames(t *testing.T) {
	for name, want := range map[string]bool{
		"password": true, "newPassword": true, "SMTP_PASSWORD": true, "api-key": true, "apiKey": true, "APIKey": true, "refreshToken": true,
		"client_secret": true, "totpSecret": true, "privateKey": true, "Authorization": true,
		"name": false, "keyboard": false, "tokenize": false, "monkey": false, "public_key": false, "publicKey": false, "password_min_length": false,
	} {
		if got := isSecret(name, nil); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestDocumentsOfAnyContent(t *testing.T) {
	b, a, err := documents(nil, map[string]string{"name": "a\x00b\u2028<script>", "big": strings.Repeat("x", 10)})
	if err != nil || b != nil || strings.Contains(string(a), `\u0000`) {
		t.Errorf("%s %s %v", b, a, err)
	}
	if _, a, err = documents(nil, strings.Repeat("x", maxDocument+1)); err != nil || len(a) > 100 {
		t.Errorf("%d bytes, %v", len(a), err)
	}
	if _, _, err := documents(math.NaN(), nil); err == nil {
		t.Error("what has no JSON was accepted")
	}
}
