package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"reeve/api"
	"reeve/api/wire"
)

// sectionTimeout bounds the reading of one section; a hanging network mount must not stop the rest.
const sectionTimeout = 2 * time.Minute

// Section is one part of what the device is.
type Section struct {
	Name        string          `json:"name"`
	Hash        string          `json:"hash"` // of Data
	CollectedAt time.Time       `json:"collected_at"`
	Data        json.RawMessage `json:"data"` // canonical JSON
}

// Collector reads the sections of the inventory.
type Collector struct {
	readers map[string]func(ctx context.Context) (any, error)
	now     func() time.Time
}

// NewCollector knows every section of this platform.
func NewCollector() *Collector { return &Collector{readers: sectionReaders(), now: time.Now} }

// Collect reads the named sections, or all. What cannot be read is in failed, and costs only itself.
func (c *Collector) Collect(ctx context.Context, names []string) (sections []Section, failed map[string]error) {
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(c.readers))
	}
	failed = map[string]error{}
	for _, name := range names {
		s, err := c.one(ctx, name)
		if ctx.Err() != nil {
			return sections, failed
		}
		if err != nil {
			failed[name] = err
			continue
		}
		sections = append(sections, s)
	}
	return sections, failed
}

func (c *Collector) one(ctx context.Context, name string) (s Section, err error) {
	read, known := c.readers[name]
	if !known {
		return s, fmt.Errorf("this endpoint knows no section %q", name)
	}
	defer func() {
		if p := recover(); p != nil { // hostile firmware tables and the like
			err = fmt.Errorf("reading section %s met a defect: %v", name, p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, sectionTimeout)
	defer cancel()
	v, err := read(ctx)
	if err != nil {
		return s, err
	}
	data, err := wire.Canonical(v)
	if err != nil {
		return s, err
	}
	if len(data) > wire.MaxSectionBytes {
		return s, fmt.Errorf("section %s is larger than %d bytes", name, wire.MaxSectionBytes)
	}
	return Section{Name: name, Hash: wire.Hash(data), CollectedAt: c.now().UTC(), Data: data}, nil
}

// Inventory is the handler of inventory.collect; store keeps what was read for the next sync.
func Inventory(c *Collector, store func([]Section) error) Handler {
	return Handler{Parallel: true, Run: func(ctx context.Context, task wire.Payload, _ Output) Result {
		var spec wire.Collect
		if err := decodeBody(task.Body, &spec); err != nil {
			return Failed("%v", err)
		}
		sections, failed := c.Collect(ctx, spec.Sections)
		if ctx.Err() != nil {
			return ended(ctx)
		}
		result := wire.CollectResult{Hashes: map[string]string{}}
		for _, s := range sections {
			result.Hashes[s.Name] = s.Hash
		}
		if err := store(sections); err != nil {
			return Failed("the inventory could not be kept: %v", err)
		}
		if len(failed) == 0 {
			return Result{State: api.AgentTaskUpdateStateSucceeded, Value: result}
		}
		result.Errors = map[string]string{}
		for name, err := range failed {
			result.Errors[wire.Clip(name, 60)] = wire.Clip(err.Error(), 300)
		}
		r := Failed("%d of %d sections could not be read", len(failed), len(failed)+len(sections))
		r.Value = result
		return r
	}}
}
