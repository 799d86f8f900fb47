package app

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	protocol "reeve/api/wire"
	"reeve/endpoint/agent"
)

// virtual is a device that says what a test wants it to say.
type virtual struct {
	*site
	id       uuid.UUID
	key      ed25519.PrivateKey
	taskKeys map[string]ed25519.PublicKey
	journal  string
	entries  int64
}

// enrol joins a device that exists only in this test.
func (s *site) enrol(t testing.TB, token, hostname string) *virtual {
	t.Helper()
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := s.post(t, protocol.PathEnrol, "", api.EnrolRequest{Protocol: protocol.Protocol, Token: token, PublicKey: public, Proof: ed25519.Sign(key, []byte(token)),
		Hostname: hostname, OsFamily: "linux", Arch: "amd64", AgentVersion: "test"})
	var joined api.EnrolReply
	if err := json.Unmarshal(r.raw, &joined); err != nil || r.status != http.StatusCreated {
		t.Fatalf("%s cannot join: %d %s", hostname, r.status, r.raw)
	}
	v := &virtual{site: s, id: joined.DeviceID, key: key, taskKeys: map[string]ed25519.PublicKey{}, journal: uuid.NewString()}
	for _, k := range joined.TaskKeys {
		v.taskKeys[k.Kid] = k.PublicKey
	}
	return v
}

// post speaks the endpoint protocol.
func (s *site) post(t testing.TB, path, token string, body any) reply {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := s.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	r := reply{status: response.StatusCode, header: response.Header}
	if r.raw, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	s.contract.check(t, "POST", &url.URL{Path: path}, r.status, r.header, r.raw)
	return r
}

// sync sends what change makes of an ordinary sync.
func (v *virtual) sync(t testing.TB, change func(*api.SyncRequest)) api.SyncReply {
	t.Helper()
	token, err := agent.DeviceToken(v.id, v.key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ready := false
	request := api.SyncRequest{Protocol: protocol.Protocol, BatchID: uuid.NewString(), SentAt: time.Now(), AgentVersion: "test",
		Journal: api.AgentJournal{ID: v.journal, LastEntry: v.entries}, Ready: &ready}
	change(&request)
	r := v.post(t, protocol.PathSync, token, request)
	var answer api.SyncReply
	if err := json.Unmarshal(r.raw, &answer); err != nil || r.status != http.StatusOK {
		t.Fatalf("a sync is answered %d %s", r.status, r.raw)
	}
	return answer
}

// work takes the next task and reports its end with the output given.
func (v *virtual) work(t testing.TB, stdout string) uuid.UUID {
	t.Helper()
	var task protocol.Payload
	until(t, "there is a task", func() bool {
		ready := true
		answer := v.sync(t, func(r *api.SyncRequest) { r.Ready = &ready })
		if len(answer.Tasks) == 0 {
			return false
		}
		envelope := protocol.Envelope{Payload: answer.Tasks[0].PayloadB64}
		for _, s := range answer.Tasks[0].Signatures {
			envelope.Signatures = append(envelope.Signatures, protocol.Signature{KID: s.Kid, Sig: s.Sig})
		}
		var err error
		if task, err = protocol.Open(envelope, v.taskKeys, v.id, time.Now()); err != nil {
			t.Fatal(err)
		}
		return true
	})
	v.entries++
	code, now := 0, time.Now()
	v.sync(t, func(r *api.SyncRequest) {
		r.TaskUpdates = &[]api.AgentTaskUpdate{{ID: uuid.NewString(), TaskID: task.ID, State: api.AgentTaskUpdateStateSucceeded, At: now, StartedAt: &now,
			FinishedAt: &now, ExitCode: &code, Output: &[]api.AgentOutput{{Stream: "stdout", Data: []byte(stdout)}}}}
	})
	return task.ID
}

// inventory is a section as an endpoint would send it.
func inventory(t testing.TB, name string, content any) api.AgentSection {
	t.Helper()
	data, err := protocol.Canonical(content)
	if err != nil {
		t.Fatal(err)
	}
	return api.AgentSection{Name: name, Hash: protocol.Hash(data), CollectedAt: time.Now(), Data: json.RawMessage(data)}
}
