package app

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"reeve/api"
	"reeve/api/wire"
	"reeve/server/auth"
	"reeve/server/bus"
	"reeve/server/fleet"
	"reeve/server/gateway"
	"reeve/server/notify"
	"reeve/server/policy"
	"reeve/server/reports"
	"reeve/server/rest"
	"reeve/server/schedule"
	"reeve/server/scripts"
	"reeve/server/tasks"
	"reeve/server/work"
	"reeve/tenants"
	"reeve/tenants/audit"
	"reeve/tenants/secrets"
)

// services are the domains, wired. A call that must go upward in the ranks is a function value here.
type services struct {
	rest.Services
	queue        *work.Queue
	gateway      *gateway.Service
	checkpointer *audit.Checkpointer
	reloadKeys   func(context.Context) error
}

// hashesAtOnce bounds the password hashes that run together: each takes a core and 46 MiB for a while.
const hashesAtOnce = 2

func assemble(s *state, o Options, b bus.Bus, publicURL string, certs *certificates, ear *fleet.Ear, watch gateway.Observer) (*services, error) {
	w := &services{}
	w.DB, w.Keeper, w.Now = s.db, s.keeper, s.now
	w.Tenants = tenants.NewService(s.db)
	w.Users = tenants.NewUsers(s.db)
	w.Settings = tenants.NewSettings(s.db, s.keeper)
	w.CustomFields = tenants.NewCustomFields(s.db, s.keeper)
	w.Approvals = tenants.NewApprovals(s.db, map[string]tenants.DecidedFunc{
		tasks.SubjectType:    func(ctx context.Context, tx *gorm.DB, a tenants.Approval) error { return w.Tasks.Decided(ctx, tx, a) },
		schedule.SubjectType: func(_ context.Context, tx *gorm.DB, a tenants.Approval) error { return w.Schedules.DecidedTx(tx, a) },
	})
	if err := wireSignIn(w, s, o, b, publicURL); err != nil {
		return nil, err
	}
	if err := wireFleet(w, s, o, b, publicURL, certs, ear, watch); err != nil {
		return nil, err
	}
	w.Reports = reports.New(s.db, w.Fleet, w.Schedules)
	w.About = rest.About{Version: version, Commit: commit}
	w.Checkpoints = func() (audit.Checkpoints, error) { return s.checkpoints(o) }
	w.Ready, w.reloadKeys = s.db.Ping, s.keys.Reload
	w.checkpointer = audit.NewCheckpointer(s.db, checkpointFile(o), s.keys.Ring(secrets.CheckpointKeys).Signer, s.now)
	return w, nil
}

func wireSignIn(w *services, s *state, o Options, b bus.Bus, publicURL string) (err error) {
	if w.queue, err = work.NewQueue(o.Log); err != nil {
		return err
	}
	w.Mailer = notify.New(notify.Config{DB: s.db, Settings: w.Settings, Keeper: s.keeper, Queue: w.queue, Log: o.Log, Now: s.now})
	hasher, err := auth.NewHasher(auth.DefaultHashParams, hashesAtOnce)
	if err != nil {
		return err
	}
	w.Auth, err = auth.New(auth.Options{DB: s.db, Users: w.Users, Settings: w.Settings, Keeper: s.keeper, Keys: s.keys.Ring(secrets.AccessKeys),
		Hasher: hasher, Mail: w.Mailer, Bus: b, PublicURL: publicURL, Now: s.now, Log: o.Log})
	return err
}

func wireFleet(w *services, s *state, o Options, b bus.Bus, publicURL string, certs *certificates, ear *fleet.Ear, watch gateway.Observer) (err error) {
	var downloads *gateway.Downloads
	digest := func(string) string { return "" }
	if o.EndpointDir != "" {
		if downloads, err = gateway.OpenDownloads(o.EndpointDir); err != nil {
			return fmt.Errorf("REEVE_ENDPOINT_DIR: %w", err)
		}
		digest = downloads.Digest
	}
	fingerprint := certs.fingerprint()
	w.Policies = policy.New(s.db)
	w.Fleet = fleet.New(fleet.Options{DB: s.db, Log: o.Log, Listening: ear.Listening,
		Tokens: fleet.TokenFormat{
			New: func() (string, [32]byte) {
				if fingerprint == nil {
					return auth.NewEnrolmentToken("")
				}
				return auth.NewEnrolmentToken(base64.RawURLEncoding.EncodeToString(fingerprint))
			},
			Read: func(token string) ([32]byte, error) {
				stored, _, err := auth.ParseEnrolmentToken(token)
				return stored, err
			}},
		Install:        fleet.Install{PublicURL: publicURL, CAFingerprint: hex.EncodeToString(fingerprint), Digest: digest},
		DevicesChanged: w.Policies.RecomputeTx,
		StateChanged:   func(devices []uuid.UUID) { w.gateway.StateChanged(devices) },
	})
	w.Scripts = scripts.New(s.db)
	signer := s.keys.Ring(secrets.TaskKeys).Signer
	w.Tasks, err = tasks.New(tasks.Options{DB: s.db, Log: o.Log, Fleet: w.Fleet, Signer: signer, Brakes: w.Settings.JobsOf,
		RequestApproval: w.Approvals.RequestTx, Blackout: blackout, Doorbell: func(devices []uuid.UUID) { w.gateway.Ring(devices) },
		Outcome: map[string]tasks.OutcomeFunc{wire.KindScript: missed, wire.KindInventory: missed}})
	if err != nil {
		return err
	}
	w.Schedules = schedule.New(s.db, w.Fleet, executor{w.Tasks, w.Approvals}, o.Log)
	w.gateway, err = gateway.New(gateway.Options{DB: s.db, Fleet: w.Fleet, Tasks: w.Tasks, Bus: b, Log: o.Log, Now: s.now,
		TaskKeys: taskKeys(s.keys), Observe: watch, Downloads: downloads, CA: certs.pem()})
	return err
}

// taskKeys tells endpoints the public keys that sign tasks, each with the voucher of an older one.
func taskKeys(keys *secrets.Keys) func(context.Context) ([]api.TaskKey, error) {
	return func(context.Context) ([]api.TaskKey, error) {
		var list []api.TaskKey
		for _, k := range keys.Chain(secrets.TaskKeys) {
			key := api.TaskKey{Kid: k.KeyID, PublicKey: k.Public}
			if k.SignedBy != "" {
				key.SignedBy, key.Signature = &k.SignedBy, &k.Signature
			}
			list = append(list, key)
		}
		return list, nil
	}
}

// blackout tells tasks which change freeze holds at a time for devices of some tenants.
func blackout(_ context.Context, tx *gorm.DB, targets []fleet.Target, at time.Time) ([]string, error) {
	seen := map[uuid.UUID]bool{}
	var ids []uuid.UUID
	for _, t := range targets {
		if !seen[t.TenantID] {
			seen[t.TenantID] = true
			ids = append(ids, t.TenantID)
		}
	}
	return schedule.HoldingTx(tx, ids, at)
}

// missed tells schedules which of their tasks never started.
func missed(_ context.Context, tx *gorm.DB, ended []tasks.Task) error {
	var list []schedule.Superseded
	for _, t := range ended {
		if t.State == tasks.Expired && t.StartedAt == nil {
			list = append(list, schedule.Superseded{JobID: t.JobID, DeviceID: t.DeviceID})
		}
	}
	return schedule.MissTx(tx, schedule.MissedOffline, list)
}
