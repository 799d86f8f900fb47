package app

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"

	"reeve/api/fault"
	"reeve/server/gateway"
	"reeve/server/rest"
)

// Errors are rendered after the handlers have returned; alarms look at what was sent.
func TestRequestsAreCountedByTheStatusThatWasSent(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	m := newMetrics(nil, func() gateway.Stats { return gateway.Stats{} })
	web := fiber.New(fiber.Config{ErrorHandler: rest.ErrorHandler(log, time.Now)})
	watch(web, log, m)
	web.Get("/gone", func(*fiber.Ctx) error { return fault.New(fault.Gone, "gone") })
	web.Get("/broken", func(*fiber.Ctx) error { panic("broken") })
	for path, status := range map[string]int{"/gone": http.StatusGone, "/broken": http.StatusInternalServerError} {
		resp, err := web.Test(httptest.NewRequest(http.MethodGet, path, nil), -1)
		if err != nil || resp.StatusCode != status {
			t.Fatalf("%s: %v, %v", path, resp, err)
		}
	}
	only := prometheus.NewRegistry()
	only.MustRegister(m.requests)
	families, err := only.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%v, %v", families, err)
	}
	var classes []string
	for _, series := range families[0].GetMetric() {
		for _, label := range series.GetLabel() {
			if label.GetName() == "class" {
				classes = append(classes, label.GetValue())
			}
		}
	}
	slices.Sort(classes)
	if !slices.Equal(classes, []string{"4xx", "5xx"}) {
		t.Errorf("counted as %v", classes)
	}
}
