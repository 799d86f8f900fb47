package agent

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
	"reeve/endpoint/runner"
)

const serverName = "http://127.0.0.1:8480"

// counted is a kind of task that counts how often it really ran.
func counted(runs *atomic.Int32, run func(ctx context.Context, out runner.Output) runner.Result) runner.Registry {
	return runner.Registry{"test.run": {Run: func(ctx context.Context, _ wire.Payload, out runner.Output) runner.Result {
		runs.Add(1)
		if run == nil {
			code := 0
			return runner.Result{State: api.AgentTaskUpdateStateSucceeded, ExitCode: &code}
		}
		return run(ctx, out)
	}}}
}

func TestATaskRunsOnceHoweverOftenItIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		var runs atomic.Int32
		id, e := s.task("test.run", map[string]any{})
		s.give(e, e)
		stop := start(t, s.options(dir, counted(&runs, nil)))
		defer stop()
		elapse(time.Second)
		s.give(e)
		elapse(2 * time.Minute)
		stop()
		s.give(e) // and after a restart
		stop = start(t, s.options(dir, counted(&runs, nil)))
		defer stop()
		elapse(2 * time.Minute)
		if runs.Load() != 1 {
			t.Errorf("it ran %d times", runs.Load())
		}
		finals := s.finals[id]
		if len(finals) < 3 {
			t.Fatalf("a redelivery was not answered: %d answers", len(finals))
		}
		for _, f := range finals {
			if f.ID != finals[0].ID || f.State != api.AgentTaskUpdateStateSucceeded || *f.ExitCode != 0 {
				t.Errorf("answers differ: %+v and %+v", finals[0], f)
			}
		}
	})
}

func TestLiveOutputComesWithinASecondAndWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		var runs atomic.Int32
		id, e := s.task("test.run", map[string]any{})
		s.give(e)
		big := strings.Repeat("0123456789abcdef", wire.MaxOutputBytes/16)
		stop := start(t, s.options(dir, counted(&runs, func(ctx context.Context, out runner.Output) runner.Result {
			out(runner.Stdout, 0, []byte("one\n"))
			elapse(1100 * time.Millisecond)
			s.mu.Lock()
			if got := string(s.output[id]["stdout"]); got != "one\n" {
				t.Errorf("a second later the server has %q", got)
			}
			s.mu.Unlock()
			for i := 0; i < len(big); i += wire.MaxOutputChunk {
				out(runner.Stderr, int64(i), []byte(big[i:i+wire.MaxOutputChunk]))
			}
			return runner.Result{State: api.AgentTaskUpdateStateFailed, Reason: "on purpose", StderrTruncated: true}
		})))
		defer stop()
		final := s.final(id)
		synctest.Wait()
		if string(s.output[id]["stderr"]) != big || final.StderrTruncated == nil || !*final.StderrTruncated || *final.Reason != "on purpose" {
			t.Errorf("%d bytes of output, %+v", len(s.output[id]["stderr"]), final)
		}
		if states := s.states[id]; states[0] != api.AgentTaskUpdateStateRunning || len(s.finals[id]) != 1 {
			t.Errorf("states %v", states)
		}
		for _, body := range s.bodies {
			if len(body) > wire.SyncAimBytes*3/2 {
				t.Errorf("a sync of %d bytes", len(body))
			}
		}
		if left, _ := os.ReadDir(dir.spoolDir()); len(left) != 0 {
			t.Errorf("the spool keeps %v", left)
		}
	})
}

func TestAnEndpointKilledInTheMiddleReportsItOnceAndTruthfully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir, copied := newFakeServer(t), Dir(filepath.Join(t.TempDir(), "a")), Dir(filepath.Join(t.TempDir(), "b"))
		s.enrolled(dir, serverName)
		var runs atomic.Int32
		id, e := s.task("test.run", map[string]any{})
		s.give(e)
		running, finish := make(chan struct{}), make(chan struct{})
		stop := start(t, s.options(dir, counted(&runs, func(ctx context.Context, out runner.Output) runner.Result {
			out(runner.Stdout, 0, []byte("half"))
			close(running)
			<-finish
			return runner.Result{State: api.AgentTaskUpdateStateSucceeded}
		})))
		<-running
		synctest.Wait()
		// What a kill leaves is the data folder as it is now.
		if out, err := exec.Command("cp", "-a", string(dir), string(copied)).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.refuse = func(string, *http.Request) error { return problem(503, "unavailable", nil) } // the first one is heard no more
		close(finish)
		stop()
		s.refuse = nil

		var again atomic.Int32
		s.give(e)
		stop = start(t, s.options(copied, counted(&again, nil)))
		elapse(3 * time.Minute)
		stop()
		finals := s.finals[id]
		if again.Load() != 0 || runs.Load() != 1 {
			t.Errorf("it ran %d times before and %d times after", runs.Load(), again.Load())
		}
		for _, f := range finals {
			if f.State != api.AgentTaskUpdateStateFailed || !strings.HasPrefix(*f.Reason, "interrupted: ") || f.StartedAt == nil || f.ID != finals[0].ID {
				t.Errorf("got %+v", f)
			}
		}
		if len(finals) == 0 || string(s.output[id]["stdout"]) != "half" {
			t.Errorf("%d reports, output %q", len(finals), s.output[id]["stdout"])
		}
		before := len(finals)
		stop = start(t, s.options(copied, counted(&again, nil)))
		elapse(3 * time.Minute)
		stop()
		if len(s.finals[id]) != before {
			t.Error("it was reported again after another restart")
		}
	})
}

func TestForgedAndForeignTasksAreRefusedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		var runs atomic.Int32
		_, forged := s.task("test.run", map[string]any{})
		forged.PayloadB64 = slices.Clone(forged.PayloadB64)
		forged.PayloadB64[len(forged.PayloadB64)-2] = ' '
		own := s.device
		s.device = uuid.New()
		_, foreign := s.task("test.run", map[string]any{})
		s.device = own
		s.give(forged, foreign)
		stop := start(t, s.options(dir, counted(&runs, nil)))
		defer stop()
		elapse(2 * time.Minute)
		if runs.Load() != 0 {
			t.Fatal("it ran")
		}
		n := 0
		for _, ev := range s.events {
			if ev.Kind == eventTaskDenied {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d refusals were told: %+v", n, s.events)
		}
	})
}

func TestClockOneDayOffIsAdopted(t *testing.T) {
	for name, off := range map[string]time.Duration{"behind": 24 * time.Hour, "ahead": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, dir := newFakeServer(t), Dir(t.TempDir())
				began := time.Now()
				s.now = func() time.Time { return time.Now().Add(off) }
				s.enrolled(dir, serverName)
				var runs atomic.Int32
				id, e := s.task("test.run", map[string]any{})
				s.give(e)
				stop := start(t, s.options(dir, counted(&runs, nil)))
				defer stop()
				s.final(id)
				elapse(2 * time.Minute)
				if runs.Load() != 1 {
					t.Errorf("it ran %d times", runs.Load())
				}
				if !slices.ContainsFunc(s.events, func(e api.AgentEvent) bool { return e.Kind == eventSkew }) {
					t.Error("the skew was not told")
				}
				if skew := s.requests[0].SentAt.Sub(began); skew.Abs() > time.Second {
					t.Errorf("the device's own clock is not shown as it is: %s", skew)
				}
			})
		})
	}
}

func TestTrustedTimeNeverFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		var runs atomic.Int32
		id, e := s.task("test.run", map[string]any{}) // expires in an hour
		s.now = func() time.Time { return time.Now().Add(48 * time.Hour) }
		stop := start(t, s.options(dir, counted(&runs, nil)))
		elapse(time.Minute)
		stop()
		// A clock set back, on either side, does not bring the expired task back to life.
		s.now = time.Now
		s.give(e)
		stop = start(t, s.options(dir, counted(&runs, nil)))
		defer stop()
		final := s.final(id)
		if runs.Load() != 0 || final.State != api.AgentTaskUpdateStateSkipped {
			t.Errorf("it ran %d times: %+v", runs.Load(), final)
		}
	})
}

func TestTheOwnersWordCounts(t *testing.T) {
	for name, deny := range map[string]func(dir Dir) error{
		"policy":    func(d Dir) error { return os.WriteFile(d.policyFile(), []byte(`{"deny_kinds":["test.*"]}`), 0o600) },
		"broken":    func(d Dir) error { return os.WriteFile(d.policyFile(), []byte(`{"deny_kinds":`), 0o600) },
		"stop file": func(d Dir) error { return os.WriteFile(d.stopFile(), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, dir := newFakeServer(t), Dir(t.TempDir())
				s.enrolled(dir, serverName)
				if err := deny(dir); err != nil {
					t.Fatal(err)
				}
				var runs atomic.Int32
				id, e := s.task("test.run", map[string]any{})
				s.give(e)
				stop := start(t, s.options(dir, counted(&runs, nil)))
				final := s.final(id)
				stop()
				if runs.Load() != 0 || final.State != api.AgentTaskUpdateStateSkipped || final.Reason == nil {
					t.Errorf("it ran %d times: %+v", runs.Load(), final)
				}
				if last, _, err := verifyTaskLog(dir.taskLogFile()); err != nil || last.Event != "refused" || last.Task != id {
					t.Errorf("the device's own log says %+v (%v)", last, err)
				}
			})
		})
	}
}

func TestThePolicyMayForbidScripts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		s.change = func(_ *api.SyncRequest, r *api.SyncReply) {
			r.ConfigVersion, r.Config = "v2", &map[string]any{"scripts_allowed": false, "unknown": 1}
		}
		id, e := s.task(wire.KindScript, wire.Script{Interpreter: "sh", Script: "id"})
		s.give(e)
		stop := start(t, s.options(dir, runner.Registry{wire.KindScript: {Run: func(context.Context, wire.Payload, runner.Output) runner.Result {
			t.Error("it ran")
			return runner.Result{}
		}}}))
		defer stop()
		if final := s.final(id); final.State != api.AgentTaskUpdateStateSkipped {
			t.Errorf("got %+v", final)
		}
		if last := s.requests[len(s.requests)-1]; last.ConfigVersion == nil || *last.ConfigVersion != "v2" {
			t.Error("the configuration's version is not reported")
		}
	})
}

func TestOneAtATimeAndCancelling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		var now, most atomic.Int32
		registry := counted(new(atomic.Int32), func(ctx context.Context, _ runner.Output) runner.Result {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			select {
			case <-time.After(10 * time.Minute):
				return runner.Result{State: api.AgentTaskUpdateStateSucceeded}
			case <-ctx.Done():
				if !errors.Is(context.Cause(ctx), runner.ErrCancelled) {
					t.Errorf("ended by %v", context.Cause(ctx))
				}
				return runner.Result{State: api.AgentTaskUpdateStateCancelled}
			}
		})
		registry["test.beside"] = runner.Handler{Parallel: true, Run: func(context.Context, wire.Payload, runner.Output) runner.Result {
			return runner.Result{State: api.AgentTaskUpdateStateSucceeded}
		}}
		a, ea := s.task("test.run", map[string]any{})
		b, eb := s.task("test.run", map[string]any{})
		c, ec := s.task("test.beside", map[string]any{})
		d, ed := s.task("test.run", map[string]any{})
		s.give(ea, eb, ec)
		stop := start(t, s.options(dir, registry))
		defer stop()
		if s.final(c); len(s.finals[a]) != 0 {
			t.Error("the parallel task had to wait")
		}
		elapse(time.Minute)
		last := s.requests[len(s.requests)-1]
		if *last.Ready || len(*last.RunningTaskIds) != 1 || (*last.RunningTaskIds)[0] != a {
			t.Errorf("ready %v, running %v", *last.Ready, last.RunningTaskIds)
		}
		s.mu.Lock()
		s.cancel = []uuid.UUID{a, b, d} // running, waiting, never seen
		s.mu.Unlock()
		for _, id := range []uuid.UUID{a, b, d} {
			if f := s.final(id); f.State != api.AgentTaskUpdateStateCancelled {
				t.Errorf("got %+v", f)
			}
		}
		s.give(ed) // too late
		elapse(5 * time.Minute)
		if most.Load() != 1 || now.Load() != 0 {
			t.Errorf("%d ran at once, %d still run", most.Load(), now.Load())
		}
	})
}

func TestGoodbyeEndsTasksAndTellsHow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		id, e := s.task("test.run", map[string]any{})
		s.give(e)
		running := make(chan struct{})
		stop := start(t, s.options(dir, counted(new(atomic.Int32), func(ctx context.Context, _ runner.Output) runner.Result {
			close(running)
			<-ctx.Done()
			return runner.Failed("interrupted: %v", context.Cause(ctx))
		})))
		<-running
		stop()
		last := s.requests[len(s.requests)-1]
		if last.Goodbye == nil || *last.Ready || len(s.finals[id]) != 1 || *s.finals[id][0].Reason != "interrupted: the endpoint was stopped" {
			t.Errorf("goodbye %v, ready %v, finals %+v", last.Goodbye, *last.Ready, s.finals[id])
		}
	})
}

func TestADayWithoutTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		id, e := s.task("test.run", map[string]any{})
		s.give(e)
		var tries atomic.Int32
		stop := start(t, s.options(dir, counted(new(atomic.Int32), func(ctx context.Context, out runner.Output) runner.Result {
			s.mu.Lock()
			s.refuse = func(string, *http.Request) error {
				tries.Add(1)
				return errors.New("no route")
			}
			s.mu.Unlock()
			out(runner.Stdout, 0, []byte("while away"))
			return runner.Result{State: api.AgentTaskUpdateStateSucceeded}
		})))
		defer stop()
		elapse(24 * time.Hour)
		s.mu.Lock()
		s.refuse = nil
		s.mu.Unlock()
		s.final(id)
		if string(s.output[id]["stdout"]) != "while away" {
			t.Errorf("the output is %q", s.output[id]["stdout"])
		}
		if n := tries.Load(); n < 200 || n > 800 {
			t.Errorf("%d tries in a day", n)
		}
	})
}

func TestARefusedPartOrBatchNeverBlocksTheRest(t *testing.T) {
	for name, refuse := range map[string]bool{"part": false, "batch": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, dir := newFakeServer(t), Dir(t.TempDir())
				s.enrolled(dir, serverName)
				bad, e := s.task("test.run", map[string]any{})
				good, e2 := s.task("test.run", map[string]any{})
				s.give(e, e2)
				first := true
				registry := counted(new(atomic.Int32), func(context.Context, runner.Output) runner.Result {
					defer func() { first = false }()
					if first {
						return runner.Result{State: api.AgentTaskUpdateStateSucceeded, Value: "poison"}
					}
					return runner.Result{State: api.AgentTaskUpdateStateSucceeded}
				})
				if refuse {
					o := s.options(dir, registry)
					o.transport = poisoned{s}
					defer start(t, o)()
				} else {
					s.change = func(req *api.SyncRequest, r *api.SyncReply) {
						for _, u := range deref(req.TaskUpdates) {
							if u.Result == "poison" {
								r.Ack.TaskUpdates = slices.DeleteFunc(r.Ack.TaskUpdates, func(id string) bool { return id == u.ID })
								r.Ack.Rejected = append(r.Ack.Rejected, api.AgentRejection{Part: "task_update", ID: u.ID, Detail: "no"})
							}
						}
					}
					defer start(t, s.options(dir, registry))()
				}
				s.final(good)
				s.final(bad)
				elapse(10 * time.Minute)
				if n := len(s.finals[bad]); n != 1 {
					t.Errorf("the bad one was taken %d times", n)
				}
			})
		})
	}
}

// poisoned refuses every batch that contains a certain result.
type poisoned struct{ s *fakeServer }

func (p poisoned) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		var raw json.RawMessage
		if err := json.NewDecoder(body).Decode(&raw); err == nil && strings.Contains(string(raw), "poison") {
			return &http.Response{StatusCode: 400, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
		}
	}
	return p.s.RoundTrip(r)
}

func TestTheServersIntervalIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		s.change = func(_ *api.SyncRequest, r *api.SyncReply) { r.IntervalSeconds = 600 }
		stop := start(t, s.options(dir, runner.Registry{}))
		defer stop()
		elapse(100 * time.Minute)
		if n := len(s.requests); n < 9 || n > 13 {
			t.Errorf("%d syncs in ten intervals", n)
		}
	})
}

func TestInventoryGoesUpOnceAndAgainWhenItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		data := json.RawMessage(`{"name":"<b>x</b>"}`)
		section := func() []runner.Section {
			return []runner.Section{{Name: "os", Hash: wire.Hash(data), CollectedAt: time.Now(), Data: data}}
		}
		o := s.options(dir, nil)
		o.registry = runner.Registry{}
		dev, err := dir.load()
		if err != nil {
			t.Fatal(err)
		}
		a, err := newAgent(o, dev)
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		sent := func() int {
			n := 0
			for _, r := range s.requests {
				n += len(deref(r.Sections))
			}
			return n
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.run(ctx) }()
		if err := a.keep(section()); err != nil {
			t.Fatal(err)
		}
		elapse(5 * time.Minute)
		if sent() != 1 || s.sections["os"].Hash != wire.Hash(data) {
			t.Errorf("sent %d times: %+v", sent(), s.sections)
		}
		canonical, err := wire.Canonical(s.sections["os"].Data)
		if err != nil || wire.Hash(canonical) != s.sections["os"].Hash {
			t.Errorf("the hash does not fit what arrived: %s (%v)", canonical, err)
		}
		data = json.RawMessage(`{"name":"y"}`)
		if err := a.keep(section()); err != nil {
			t.Fatal(err)
		}
		elapse(5 * time.Minute)
		if sent() != 2 || s.sections["os"].Hash != wire.Hash(data) {
			t.Errorf("sent %d times: %+v", sent(), s.sections)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestTwoEndpointsInOneFolderAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newFakeServer(t), Dir(t.TempDir())
		s.enrolled(dir, serverName)
		stop := start(t, s.options(dir, runner.Registry{}))
		defer stop()
		elapse(time.Second)
		if err := Run(t.Context(), s.options(dir, runner.Registry{})); !errors.Is(err, errRunning) {
			t.Errorf("the second one: %v", err)
		}
		st, err := ReadStatus(dir)
		if err != nil || !st.Running || !st.Enrolled || st.Live == nil || st.Live.LastSync.IsZero() || !st.TaskLogIntact {
			t.Errorf("status %+v (%v)", st, err)
		}
	})
}
