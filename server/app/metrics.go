package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"reeve/server/gateway"
	"reeve/tenants/tenantdb"
)

// metrics are what an operator watches. They are served on a listener of their own, together with
// the profiler: neither belongs on the address that the world can reach.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	sweeps   *prometheus.HistogramVec
	swept    *prometheus.CounterVec
	syncs    *prometheus.HistogramVec
	batches  prometheus.Histogram
	rings    prometheus.Counter
}

func newMetrics(db *tenantdb.DB, endpoints func() gateway.Stats) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "reeve_http_request_seconds", Help: "Time to answer a request, by route and status class.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 10)}, []string{"method", "route", "class"}),
		sweeps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "reeve_sweep_seconds", Help: "Time of one batch of a sweep.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}, []string{"sweep", "outcome"}),
		swept: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "reeve_sweep_rows_total", Help: "Rows a sweep worked on."}, []string{"sweep"}),
		syncs: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "reeve_sync_seconds", Help: "Time to answer an endpoint's sync, its wait for the shared commit included.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 9)}, []string{"carrier", "outcome"}),
		batches: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "reeve_sync_batch_size", Help: "Syncs that were committed together.", Buckets: prometheus.ExponentialBuckets(1, 3, 7)}),
		rings: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "reeve_doorbells_total", Help: "Doorbells delivered to endpoints of this replica."}),
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.requests, m.sweeps, m.swept, m.syncs, m.batches, m.rings,
		gauge("reeve_db_connections_open", "Open database connections.", func() float64 { return float64(db.Stats().OpenConnections) }),
		gauge("reeve_db_connections_in_use", "Database connections in use.", func() float64 { return float64(db.Stats().InUse) }),
		gauge("reeve_db_wait_seconds_total", "Time spent waiting for a database connection.", func() float64 { return db.Stats().WaitDuration.Seconds() }),
		gauge("reeve_endpoints_connected", "Endpoints whose socket this replica holds.", func() float64 { return float64(endpoints().Connected) }),
		gauge("reeve_syncs_waiting", "Messages of endpoints that wait to be committed.", func() float64 { return float64(endpoints().Queued) }),
	)
	return m
}

// observer is what the gateway tells of endpoints.
func (m *metrics) observer() gateway.Observer {
	return gateway.Observer{
		Sync: func(carrier string, took time.Duration, err error) {
			m.syncs.WithLabelValues(carrier, outcomeOf(err)).Observe(took.Seconds())
		},
		Batch: func(items int, _ time.Duration, _ error) { m.batches.Observe(float64(items)) },
		Ring:  func(delivered int) { m.rings.Add(float64(delivered)) },
	}
}

func outcomeOf(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

// sweep notes a run of the timetable.
func (m *metrics) sweep(name string, took time.Duration, rows int, err error) {
	m.sweeps.WithLabelValues(name, outcomeOf(err)).Observe(took.Seconds())
	m.swept.WithLabelValues(name).Add(float64(rows))
}

// observe times every request by its route's template, never by its address: label values are bounded.
func (m *metrics) observe(c *fiber.Ctx) error {
	start := time.Now()
	err := c.Next()
	class := string('0'+rune(c.Response().StatusCode()/100)) + "xx"
	m.requests.WithLabelValues(c.Method(), c.Route().Path, class).Observe(time.Since(start).Seconds())
	return err
}

// serve listens on an address of its own until it is stopped.
func (m *metrics) serve(address string) (stop func(context.Context) error, bound string, err error) {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, "", err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	return func(ctx context.Context) error {
		err := srv.Shutdown(ctx)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, ln.Addr().String(), nil
}
