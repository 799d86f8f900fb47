package app

import (
	"encoding/json"
	"fmt"
	"testing"

	"reeve/server/dbtest"
	"reeve/server/schedule"
	"reeve/server/scripts"
	"reeve/server/tasks"
	"reeve/tenants"
	"reeve/tenants/scope"
)

// A second person agrees to what they have seen. The author of a library script must not be able to
// have the schedule approved and to change the script then.
func TestConsentToAScheduleDoesNotCoverAScriptThatChangesLater(t *testing.T) {
	t.Parallel()
	p := newPlanner(t)
	for range 4 {
		p.own()
	}
	_, err := p.settings.PutJobs(p.author, scope.Provider, tenants.Document[tenants.JobSpec]{
		Value: tenants.JobSpec{MaxDevices: 3, MaxTenants: 10}})
	p.must(err)
	library := scripts.New(p.db)
	keeper := dbtest.Staff(t, "scripts.read", "scripts.manage")
	script, err := library.Create(keeper, scripts.NewScript{TenantID: p.tenant, Name: "Tidy up", Platforms: []string{"linux"},
		Text: scripts.Text{Interpreter: "bash", Body: "echo harmless", TimeoutSeconds: 60, RunAs: "system"}})
	p.must(err)
	work := func(payload string) schedule.Definition {
		d := p.everyMinute()
		d.What = schedule.Work{Kind: "script.run", Payload: json.RawMessage(payload)}
		return d
	}

	latest := p.create(work(fmt.Sprintf(`{"script_id": %q}`, script.ID)))
	if latest.ApprovalID != nil {
		t.Error("somebody is asked to agree to whatever the script will be")
	}
	p.exec("update schedules set approved_devices = 100 where id = ?", latest.ID) // as agreed to before this was refused
	if run := p.fire(latest); run.State != tasks.WaitingApproval {
		t.Errorf("a run of the newest version is %s", run.State)
	}

	pinned := p.create(work(fmt.Sprintf(`{"script_id": %q, "script_number": 1}`, script.ID)))
	if pinned.ApprovalID == nil {
		t.Fatal("nobody is asked about a version")
	}
	_, err = p.approvals.Approve(p.second, *pinned.ApprovalID, "seen")
	p.must(err)
	evil := "rm -rf /"
	_, err = library.Update(keeper, script.ID, scripts.Change{Version: script.Version, Body: &evil})
	p.must(err)
	run := p.fire(pinned)
	var payload struct{ Script string }
	p.must(json.Unmarshal(run.Payload, &payload))
	if run.State != tasks.RunningJob || payload.Script != "echo harmless" {
		t.Errorf("the run is %s of %q", run.State, payload.Script)
	}
}
