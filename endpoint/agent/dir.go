package agent

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/wire"
)

// Errors of the data folder.
var (
	errRunning     = errors.New("an endpoint is running in this data folder already")
	ErrNotEnrolled = errors.New("this device is not enrolled: run reeve-endpoint enrol first")
	ErrEnrolled    = errors.New("this device is enrolled already")
)

// Dir is the endpoint's data folder. Everything in it belongs to one device.
type Dir string

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

func (d Dir) keyFile() string      { return d.path("device.key") }
func (d Dir) deviceFile() string   { return d.path("device.json") }
func (d Dir) journalFile() string  { return d.path("journal") }
func (d Dir) eventsFile() string   { return d.path("events") }
func (d Dir) taskLogFile() string  { return d.path("tasks.log") }
func (d Dir) policyFile() string   { return d.path("policy.json") }
func (d Dir) statusFile() string   { return d.path("status.json") }
func (d Dir) lockFile() string     { return d.path("lock") }
func (d Dir) stopFile() string     { return d.path("STOP") }
func (d Dir) spoolDir() string     { return d.path("spool") }
func (d Dir) scriptsDir() string   { return d.path("scripts") }
func (d Dir) inventoryDir() string { return d.path("inventory") }

// Make creates the folder and closes it to everybody else.
func (d Dir) Make() error {
	for _, dir := range []string{string(d), d.spoolDir(), d.inventoryDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the data folder: %w", err)
		}
	}
	if err := protect(string(d)); err != nil {
		return fmt.Errorf("closing the data folder to others: %w", err)
	}
	return nil
}

// device is what enrolling gave, and what the server has since told for good.
type device struct {
	Server        string                       `json:"server"`
	InsecureHTTP  bool                         `json:"insecure_http,omitempty"`
	CA            string                       `json:"ca,omitempty"` // PEM of the pinned authority; empty trusts the system's
	ID            uuid.UUID                    `json:"device_id"`
	TenantID      uuid.UUID                    `json:"tenant_id"`
	TaskKeys      map[string]ed25519.PublicKey `json:"task_keys"` // pinned, by kid
	EnrolledAt    time.Time                    `json:"enrolled_at"`
	Interval      int                          `json:"interval_seconds"`
	ConfigVersion string                       `json:"config_version,omitempty"`
	Config        config                       `json:"config"`
}

// config is what the server's policy says for this device; a field it does not give keeps its default.
type config struct {
	SyncInterval      *int  `json:"sync_interval_seconds,omitempty"`
	InventoryInterval *int  `json:"inventory_interval_seconds,omitempty"`
	ScriptsAllowed    *bool `json:"scripts_allowed,omitempty"`
}

func (d Dir) load() (device, error) {
	var dev device
	text, err := os.ReadFile(d.deviceFile())
	if errors.Is(err, os.ErrNotExist) {
		return dev, ErrNotEnrolled
	}
	if err != nil {
		return dev, fmt.Errorf("reading what enrolling gave: %w", err)
	}
	if err := json.Unmarshal(text, &dev); err != nil {
		return dev, fmt.Errorf("reading what enrolling gave: %w", err)
	}
	return dev, nil
}

func (d Dir) save(dev device) error {
	text, err := json.MarshalIndent(dev, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the device: %w", err)
	}
	return writeFile(d.deviceFile(), append(text, '\n'), 0o600)
}

// adoptKeys pins new task keys, each of which an already pinned key must have signed. refused counts
// those without such a signature.
func (dev *device) adoptKeys(keys []api.TaskKey) (added, refused int) {
	for _, k := range keys {
		if _, known := dev.TaskKeys[k.Kid]; known || len(dev.TaskKeys) >= maxTaskKeys {
			continue
		}
		if len(k.PublicKey) != ed25519.PublicKeySize || k.SignedBy == nil || k.Signature == nil {
			refused++
			continue
		}
		claimed := wire.ServerKey{KeyID: k.Kid, Public: k.PublicKey, SignedBy: *k.SignedBy, Signature: *k.Signature}
		if !claimed.VouchedFor(taskPurpose, dev.TaskKeys) {
			refused++
			continue
		}
		dev.TaskKeys[k.Kid] = ed25519.PublicKey(k.PublicKey)
		added++
	}
	return added, refused
}

const (
	maxTaskKeys = 32
	taskPurpose = "task" // what a key of another purpose of the server never passes for
)
