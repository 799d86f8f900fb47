package gateway

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"reeve/api"
	"reeve/api/fault"
	"reeve/api/wire"
	"reeve/server/fleet"
	"reeve/server/tasks"
	"reeve/tenants/calendar"
)

// Bounds of a sync. What exceeds a count is left for the next sync, not lost.
const (
	maxDepth    = 32
	maxEvents   = 500
	maxUpdates  = 200
	maxRunning  = 64
	maxHashes   = 2 * fleet.MaxSections
	maxChunks   = 64
	maxProtocol = 1000
)

var (
	sectionName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,59}$`)
	sectionHash = regexp.MustCompile(`^[0-9a-f]{64}$`)
	eventKind   = regexp.MustCompile(`^[a-z][a-z0-9_.]{0,59}$`)
)

// report is a sync as it was understood: bounded, cleaned, and of the device that proved itself.
type report struct {
	tenant, device uuid.UUID
	address        string // remote, for the record of a quarantine
	seen           fleet.Seen
	has            map[string]string // inventory sections and their hashes
	sections       []fleet.Section
	events         []event
	updates        []tasks.Update
	running        []uuid.UUID
	ready          bool
	more           bool // something was left for the next sync
	rejected       []api.AgentRejection
	received       time.Time
}

// event is something an endpoint noticed.
type event struct {
	number int64
	event  fleet.Event
}

func (r *report) reject(part api.AgentRejectionPart, id, detail string) {
	r.rejected = append(r.rejected, api.AgentRejection{Part: part, ID: fleet.Line(id, 64), Detail: detail})
}

// object is a JSON object whose fields are read one by one, so that a bad one harms only itself.
type object map[string]json.RawMessage

func objectOf(raw []byte) (object, bool) {
	var o object
	err := json.Unmarshal(raw, &o)
	return o, err == nil && o != nil
}

// text reads a field that is a text; anything else is absent.
func (o object) text(name string, limit int) string {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return ""
	}
	return fleet.Line(s, limit)
}

func (o object) number(name string) (int64, bool) {
	var n int64
	raw, given := o[name]
	return n, given && json.Unmarshal(raw, &n) == nil && !bytes.Equal(raw, []byte("null")) && parse(raw, &n)
}

func parse(raw []byte, n *int64) bool {
	v, err := strconv.ParseInt(string(bytes.TrimSpace(raw)), 10, 64)
	*n = v
	return err == nil
}

func (o object) flag(name string) bool {
	var b bool
	return json.Unmarshal(o[name], &b) == nil && b
}

// instant reads a time within the years that everything downstream can hold.
func (o object) instant(name string) (time.Time, bool) {
	var s string
	if json.Unmarshal(o[name], &s) != nil {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 || t.Year() > 9000 {
		return time.Time{}, false
	}
	return t.UTC().Truncate(time.Microsecond), true
}

func (o object) optionalInstant(name string) *time.Time {
	if t, ok := o.instant(name); ok {
		return &t
	}
	return nil
}

func (o object) list(name string) []json.RawMessage {
	var l []json.RawMessage
	if json.Unmarshal(o[name], &l) != nil {
		return nil
	}
	return l
}

// decode reads a sync. Unknown fields are ignored, faulty parts are rejected by name, and only a
// message that cannot be answered at all is refused as a whole.
func decode(d *Device, body []byte, received time.Time) (*report, error) {
	if err := fleet.CheckDepth(body, maxDepth); err != nil {
		return nil, fault.New(fault.Invalid, "the message "+err.Error())
	}
	o, ok := objectOf(body)
	if !ok {
		return nil, fault.New(fault.Invalid, "the message is no JSON object")
	}
	r := &report{tenant: d.tenant, device: d.id, received: received, ready: o.flag("ready")}
	if err := r.readHead(o); err != nil {
		return nil, err
	}
	r.readHashes(o)
	r.readSections(o)
	r.readEvents(o)
	r.readUpdates(o)
	for _, raw := range o.list("running_task_ids") {
		var text string
		if json.Unmarshal(raw, &text) != nil || len(r.running) >= maxRunning {
			continue
		}
		if id, err := uuid.Parse(text); err == nil {
			r.running = append(r.running, id)
		}
	}
	return r, nil
}

// readHead reads what every sync must say.
func (r *report) readHead(o object) error {
	var f fault.Fields
	protocol, ok := o.number("protocol")
	f.Check(ok && protocol >= 1 && protocol <= maxProtocol, "/protocol", "must be a number from 1")
	batch := o.text("batch_id", 64)
	f.Check(batch != "", "/batch_id", "must be a text of 1 to 64 characters")
	sent, ok := o.instant("sent_at")
	f.Check(ok, "/sent_at", "must be a time as in RFC 3339")
	journal, ok := objectOf(o["journal"])
	f.Check(ok, "/journal", "must be an object")
	id := journal.text("id", 64)
	f.Check(id != "", "/journal/id", "must be a text of 1 to 64 characters")
	entry, ok := journal.number("last_entry")
	f.Check(ok && entry >= 0, "/journal/last_entry", "must be a number from 0")
	if err := f.Err(); err != nil {
		return err
	}
	_, goodbye := o["goodbye"]
	r.seen = fleet.Seen{TenantID: r.tenant, DeviceID: r.device, Goodbye: goodbye && o.text("goodbye", 200) != "",
		SkewMS: sent.Sub(r.received).Milliseconds(), ConfigVersion: o.text("config_version", 64), AgentVersion: o.text("agent_version", 60),
		BootAt: o.optionalInstant("boot_at"),
		Journal: fleet.JournalReport{ID: id, Entry: entry, BatchID: batch, SentAt: sent,
			BootID: strings.Join(strings.Fields(o.text("boot_id", 64)), "")}}
	if zone := o.text("zone", 64); zone != "" {
		if _, err := calendar.LoadZone(zone); err == nil {
			r.seen.Zone = zone
		}
	}
	return nil
}

func (r *report) readHashes(o object) {
	hashes, ok := objectOf(o["section_hashes"])
	if !ok {
		return
	}
	r.has = map[string]string{}
	for name := range hashes {
		hash := hashes.text(name, 64)
		if sectionName.MatchString(name) && sectionHash.MatchString(hash) && len(r.has) < maxHashes {
			r.has[name] = hash
		}
	}
}

func (r *report) readSections(o object) {
	for i, raw := range o.list("sections") {
		if i >= fleet.MaxSections {
			r.more = true
			return
		}
		section, ok := objectOf(raw)
		if !ok {
			r.reject(api.Section, fmt.Sprint("#", i), "is no object")
			continue
		}
		hash := section.text("hash", 64)
		s, complaint := sectionOf(section, hash)
		if complaint != "" {
			r.reject(api.Section, cmp.Or(hash, fmt.Sprint("#", i)), complaint)
			continue
		}
		s.TenantID, s.DeviceID = r.tenant, r.device
		r.sections = append(r.sections, s)
	}
}

func sectionOf(o object, hash string) (fleet.Section, string) {
	name := o.text("name", 64)
	switch {
	case !sectionName.MatchString(name):
		return fleet.Section{}, "the name must be of lower-case letters, digits and _"
	case !sectionHash.MatchString(hash):
		return fleet.Section{}, "the hash must be 64 hexadecimal digits"
	case len(o["data"]) > wire.MaxSectionBytes:
		return fleet.Section{}, fmt.Sprintf("the data is larger than %d bytes", wire.MaxSectionBytes)
	}
	collected, ok := o.instant("collected_at")
	if !ok {
		return fleet.Section{}, "collected_at must be a time"
	}
	data, err := fleet.CleanJSON(o["data"])
	if err != nil {
		return fleet.Section{}, "the data " + err.Error()
	}
	return fleet.Section{Name: name, Hash: hash, CollectedAt: collected, Data: data}, ""
}

func (r *report) readEvents(o object) {
	list := o.list("events")
	if len(list) > maxEvents {
		list, r.more = list[:maxEvents], true
	}
	for i, raw := range list {
		e, ok := objectOf(raw)
		if !ok {
			r.reject(api.Event, fmt.Sprint("#", i), "is no object")
			continue
		}
		number, ok := e.number("number")
		if !ok || number < 1 || number == math.MaxInt64 {
			r.reject(api.Event, fmt.Sprint("#", i), "the number must be a number from 1")
			continue
		}
		one := event{number: number}
		if complaint := r.readEvent(e, &one.event); complaint != "" {
			r.reject(api.Event, strconv.FormatInt(number, 10), complaint)
			one.event = fleet.Event{} // counted as handled, not stored
		}
		r.events = append(r.events, one)
	}
	slices.SortStableFunc(r.events, func(a, b event) int { return cmp.Compare(a.number, b.number) })
}

func (r *report) readEvent(o object, e *fleet.Event) string {
	at, ok := o.instant("at")
	kind, title := o.text("kind", 64), o.text("title", 300)
	switch {
	case !ok:
		return "at must be a time"
	case !eventKind.MatchString(kind):
		return "the kind must be of lower-case letters, digits, _ and ."
	case title == "":
		return "the title must have 1 to 300 characters"
	case len(o["detail"]) > wire.MaxEventDetailBytes:
		return fmt.Sprintf("the detail is larger than %d bytes", wire.MaxEventDetailBytes)
	}
	detail := map[string]any{}
	if len(o["detail"]) > 0 {
		v, err := fleet.CleanJSON(o["detail"])
		if err != nil {
			return "the detail " + err.Error()
		}
		if v, isObject := v.(map[string]any); isObject {
			detail = v
		}
	}
	*e = fleet.Event{TenantID: r.tenant, DeviceID: r.device, At: at, Kind: "endpoint." + strings.TrimPrefix(kind, "endpoint."), Title: title, Detail: detail}
	e.Kind = fleet.Line(e.Kind, 60)
	return ""
}

func (r *report) readUpdates(o object) {
	list := o.list("task_updates")
	if len(list) > maxUpdates {
		list, r.more = list[:maxUpdates], true
	}
	for i, raw := range list {
		u, ok := objectOf(raw)
		if !ok {
			r.reject(api.TaskUpdate, fmt.Sprint("#", i), "is no object")
			continue
		}
		id := u.text("id", 64)
		update, complaint := updateOf(u, id)
		if complaint != "" {
			r.reject(api.TaskUpdate, cmp.Or(id, fmt.Sprint("#", i)), complaint)
			continue
		}
		update.TenantID, update.DeviceID = r.tenant, r.device
		r.updates = append(r.updates, update)
	}
}

func updateOf(o object, id string) (tasks.Update, string) {
	u := tasks.Update{ID: id, Report: tasks.Report(o.text("state", 20)), StartedAt: o.optionalInstant("started_at"), FinishedAt: o.optionalInstant("finished_at"),
		StdoutTruncated: o.flag("stdout_truncated"), StderrTruncated: o.flag("stderr_truncated")}
	task, err := uuid.Parse(o.text("task_id", 40))
	at, ok := o.instant("at")
	switch {
	case id == "":
		return u, "the id must have 1 to 64 characters"
	case err != nil:
		return u, "task_id must be an id"
	case !u.Report.Known():
		return u, "there is no such state"
	case !ok:
		return u, "at must be a time"
	case len(o["result"]) > wire.MaxResultBytes:
		return u, fmt.Sprintf("the result is larger than %d bytes", wire.MaxResultBytes)
	}
	u.TaskID, u.At = task, at
	var reason string
	if json.Unmarshal(o["reason"], &reason) == nil {
		u.Reason = fleet.Text(reason, 2000)
	}
	if code, ok := o.number("exit_code"); ok && code >= math.MinInt32 && code <= math.MaxUint32 {
		u.ExitCode = &code // Windows reports unsigned codes
	}
	if raw := o["result"]; len(raw) > 0 && !bytes.Equal(raw, []byte("null")) {
		v, err := fleet.CleanJSON(raw)
		if err != nil {
			return u, "the result " + err.Error()
		}
		if u.Result, err = json.Marshal(v); err != nil {
			return u, "the result cannot be kept"
		}
	}
	var complaint string
	u.Output, complaint = outputOf(o.list("output"))
	return u, complaint
}

func outputOf(list []json.RawMessage) ([]tasks.Chunk, string) {
	if len(list) > maxChunks {
		return nil, fmt.Sprintf("an update has at most %d pieces of output", maxChunks)
	}
	var chunks []tasks.Chunk
	for _, raw := range list {
		o, ok := objectOf(raw)
		if !ok {
			return nil, "a piece of output is no object"
		}
		c := tasks.Chunk{Stream: o.text("stream", 10)}
		if c.Stream != "stdout" && c.Stream != "stderr" {
			return nil, "a stream of output is stdout or stderr"
		}
		if c.Offset, ok = o.number("offset"); !ok || c.Offset < 0 || c.Offset > 1<<40 {
			return nil, "an offset of output must be a number from 0"
		}
		if json.Unmarshal(o["data"], &c.Data) != nil {
			return nil, "output must be in base64"
		}
		if len(c.Data) > wire.MaxOutputChunk {
			return nil, fmt.Sprintf("a piece of output has at most %d bytes", wire.MaxOutputChunk)
		}
		if len(c.Data) > 0 {
			chunks = append(chunks, c)
		}
	}
	return chunks, ""
}

// bytes reads a field in base64.
func (o object) bytes(name string) []byte {
	var b []byte
	if json.Unmarshal(o[name], &b) != nil {
		return nil
	}
	return b
}
