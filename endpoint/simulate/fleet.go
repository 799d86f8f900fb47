package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"reeve/api"
	"reeve/api/wire"
)

// fleet is all devices and what they counted.
type fleet struct {
	o       options
	log     *slog.Logger
	client  *http.Client
	figures figures
	out     struct {
		sync.Mutex
		io.Writer
	}
	devices []*device
	cancel  context.CancelFunc
	running context.Context
	lives   sync.WaitGroup
	synced  atomic.Int64 // devices that have synced at least once
}

func newFleet(o options, out io.Writer, log *slog.Logger) (*fleet, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(256)}
	if o.ca != "" {
		text, err := os.ReadFile(o.ca)
		if err != nil {
			return nil, fmt.Errorf("reading the authority: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("the authority is not a certificate in PEM")
		}
	}
	o.server = strings.TrimRight(o.server, "/")
	f := &fleet{o: o, log: log, client: &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{
		TLSClientConfig: conf, MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second, ReadBufferSize: 2048, WriteBufferSize: 2048}}}
	f.out.Writer = out
	f.running, f.cancel = context.WithCancel(context.Background())
	f.figures.executed = map[string]int{}
	return f, nil
}

// grow lets more devices join and waits until each of them has synced.
func (f *fleet) grow(ctx context.Context, n int) error {
	began, first := time.Now(), len(f.devices)
	for i := range n {
		f.devices = append(f.devices, newDevice(f, first+i))
	}
	next := make(chan *device)
	var joins sync.WaitGroup
	for range f.o.joins {
		joins.Go(func() {
			for d := range next {
				if !d.join(ctx) {
					continue
				}
				f.lives.Go(func() { d.live(f.running) })
			}
		})
	}
	for _, d := range f.devices[first:] {
		next <- d
	}
	close(next)
	joins.Wait()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for f.synced.Load() < int64(len(f.devices)) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d devices joined before the end", f.synced.Load(), len(f.devices))
		case <-tick.C:
		}
	}
	f.say(map[string]any{"event": "ready", "devices": len(f.devices), "seconds": time.Since(began).Seconds()})
	return nil
}

func (f *fleet) report() { f.say(f.figures.report(len(f.devices))) }

// stop has every device say goodbye.
func (f *fleet) stop() error {
	f.cancel()
	f.lives.Wait()
	f.report()
	return nil
}

func (f *fleet) say(event map[string]any) {
	raw, err := json.Marshal(event)
	if err != nil {
		f.log.Error("an event cannot be told", "error", err)
		return
	}
	f.out.Lock()
	defer f.out.Unlock()
	_, _ = f.out.Write(append(raw, '\n')) // who does not listen does not hear
}

// random is the source of one device: the same for the same seed and place, whatever the others do.
func (f *fleet) random(n int) *rand.Rand { return rand.New(rand.NewPCG(f.o.seed, uint64(n))) }

// post sends one request of the endpoint protocol.
func (f *fleet) post(ctx context.Context, path, token string, body []byte, want int) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.o.server+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, wire.MaxSyncBytes))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != want {
		return nil, problem(answer, response.StatusCode)
	}
	return answer, nil
}

// refusal is what the server has against a request.
type refusal struct{ api.Problem }

func (r *refusal) Error() string {
	if r.Detail != nil {
		return fmt.Sprintf("%d %s", r.Status, *r.Detail)
	}
	return fmt.Sprint(r.Status)
}

func problem(body []byte, status int) error {
	r := &refusal{}
	if json.Unmarshal(body, &r.Problem) != nil || r.Status == 0 {
		r.Status = status
	}
	return r
}

// wait is how long to stay away after an error: what the server asks for, or a time that grows.
func wait(err error, failures int, random *rand.Rand) time.Duration {
	longest := min(500*time.Millisecond<<min(failures, 5), 10*time.Second)
	pause := longest/2 + time.Duration(random.Int64N(int64(longest)))
	var r *refusal
	if errors.As(err, &r) && r.RetryAfterSeconds != nil {
		pause = max(pause, time.Duration(*r.RetryAfterSeconds)*time.Second)
	}
	return pause
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// figures is what a fleet counts.
type figures struct {
	mu                             sync.Mutex
	took                           []time.Duration // of syncs, since the last report
	syncs, failed, repeated        int
	connects, lost                 int
	verified, refused, redelivered int
	executed                       map[string]int // task → how often; kept over reports
}

func (f *figures) count(n *int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n++
}

func (f *figures) synced(took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncs++
	f.took = append(f.took, took)
}

func (f *figures) execute(task string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.executed[task]++
}

// report gives the figures and begins anew, but for what was executed.
func (f *figures) report(devices int) map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	twice := 0
	for _, n := range f.executed {
		if n > 1 {
			twice++
		}
	}
	slices.Sort(f.took)
	report := map[string]any{"event": "report", "devices": devices, "syncs": f.syncs, "failed": f.failed, "repeated": f.repeated,
		"connects": f.connects, "lost": f.lost, "verified": f.verified, "refused": f.refused, "redelivered": f.redelivered,
		"executed": len(f.executed), "executed_twice": twice,
		"sync_ms": map[string]float64{"p50": quantile(f.took, 0.5), "p99": quantile(f.took, 0.99), "max": quantile(f.took, 1)}}
	f.took = f.took[:0]
	f.syncs, f.failed, f.repeated, f.connects, f.lost, f.verified, f.refused, f.redelivered = 0, 0, 0, 0, 0, 0, 0, 0
	return report
}

// quantile is that of sorted times, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Microseconds()) / 1000
}
