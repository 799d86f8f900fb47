package gateway

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"reeve/server/fleet"
	"reeve/tenants/scope"
)

// BenchmarkIdleSyncs has 1,000 devices sync that have nothing to say, all at once: b.N rounds of it.
func BenchmarkIdleSyncs(b *testing.B) {
	w := newWorld(b)
	w.limits.limits.TenantSyncs = 1e9
	const n = 1000
	token := w.token(b, n)
	var list []fleet.Enrolment
	for i := range n {
		public, _, err := ed25519.GenerateKey(nil)
		must(b, err)
		list = append(list, fleet.Enrolment{Token: token, PublicKey: public, Hostname: fmt.Sprint("pc-", i), OSFamily: "linux", Arch: "amd64", AgentVersion: "1"})
	}
	joined, err := w.admit(scope.AsSystem(b.Context(), "test"), list)
	must(b, err)
	devices := make([]*Device, n)
	for i, j := range joined {
		must(b, j.Err)
		devices[i], err = w.devices.find(b.Context(), j.DeviceID)
		must(b, err)
		devices[i].syncs.SetLimit(1e9)
	}
	round := 0
	for b.Loop() {
		round++
		var all sync.WaitGroup
		for i, d := range devices {
			all.Go(func() {
				body, err := json.Marshal(map[string]any{"protocol": 1, "batch_id": fmt.Sprint(round, "-", i), "sent_at": time.Now().UTC(), "agent_version": "1",
					"boot_id": "boot", "journal": map[string]any{"id": "j", "last_entry": 7}, "ready": true})
				if err == nil {
					_, err = w.Sync(b.Context(), d, "192.0.2.1", body)
				}
				if err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
	}
	b.ReportMetric(float64(n*round)/b.Elapsed().Seconds(), "syncs/s")
}
