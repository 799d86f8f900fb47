package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gofiber/fiber/v2"

	. "reeve/api"
	"reeve/api/fault"
	"reeve/server/reports"
	"reeve/server/schedule"
)

// About is what the server says of itself.
type About struct {
	Version, Commit string
}

// operationsHandlers serve the dashboard, and what monitoring asks.
type operationsHandlers struct {
	reports  *reports.Service
	about    About
	contract []byte // JSON
	ready    func(context.Context) error
	now      func() time.Time
}

func (h operationsHandlers) GetDashboard(ctx context.Context, r GetDashboardRequestObject) (GetDashboardResponseObject, error) {
	d, err := h.reports.Dashboard(ctx, r.Params.TenantID)
	if err != nil {
		return nil, err
	}
	devices := map[string]int{"total": d.Devices.Total}
	maps.Copy(devices, d.Devices.Presence)
	maps.Copy(devices, d.Devices.State)
	tasks := d.Tasks
	if tasks == nil {
		tasks = map[string]int{}
	}
	return GetDashboard200JSONResponse{
		Devices: devices, Os: d.Devices.OS, Tasks24H: tasks, JobsRunning: d.JobsRunning, ApprovalsPending: d.ApprovalsPending,
		DevicesPending: d.Devices.State["pending"], SchedulesEnabled: d.SchedulesEnabled, Recent: each(d.Recent, auditEntry),
		NextRuns: each(d.Coming, func(c schedule.Coming) NextRun {
			return NextRun{ScheduleID: c.ScheduleID, Name: c.Name, TenantName: c.TenantName, At: c.At.UTC()}
		}),
	}, nil
}

func (h operationsHandlers) GetVersion(context.Context, GetVersionRequestObject) (GetVersionResponseObject, error) {
	return GetVersion200JSONResponse{Version: h.about.Version, Commit: h.about.Commit, ServerTime: h.now().UTC()}, nil
}

func (h operationsHandlers) GetHealth(context.Context, GetHealthRequestObject) (GetHealthResponseObject, error) {
	return GetHealth200JSONResponse{Status: "ok"}, nil
}

func (h operationsHandlers) GetReadiness(ctx context.Context, _ GetReadinessRequestObject) (GetReadinessResponseObject, error) {
	if err := h.ready(ctx); err != nil {
		return nil, fault.Wrap(fault.Unavailable, "the server cannot do its work now", err)
	}
	return GetReadiness200JSONResponse{Status: "ok"}, nil
}

func (h operationsHandlers) GetContract(context.Context, GetContractRequestObject) (GetContractResponseObject, error) {
	return contractAnswer(h.contract), nil
}

// contractAnswer sends the description byte for byte.
type contractAnswer []byte

func (a contractAnswer) VisitGetContractResponse(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Send(a)
}

// contractJSON is openapi.yaml as JSON.
func contractJSON(doc *openapi3.T) ([]byte, error) {
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encoding the contract: %w", err)
	}
	return text, nil
}
