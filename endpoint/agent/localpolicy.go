package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// localPolicy is what the device's owner allows, whatever the server says: policy.json in the data
// folder, and the file STOP beside it, which refuses every task.
type localPolicy struct {
	DenyKinds []string `json:"deny_kinds"` // "script.run", or "script.*"
}

// check reads the files for every task, so that a change counts at once. A policy that cannot be
// read refuses: the owner wanted something to be refused.
func (d Dir) check(kind string) error {
	if _, err := os.Stat(d.stopFile()); err == nil {
		return errors.New("the file STOP in this device's data folder refuses all tasks")
	}
	p, err := d.localPolicy()
	if err != nil {
		return fmt.Errorf("this device's local policy refuses all tasks, because it cannot be read: %w", err)
	}
	if slices.ContainsFunc(p.DenyKinds, func(pattern string) bool {
		prefix, wild := strings.CutSuffix(pattern, "*")
		return pattern == kind || wild && strings.HasPrefix(kind, prefix)
	}) {
		return fmt.Errorf("this device's local policy refuses tasks of kind %s", kind)
	}
	return nil
}

func (d Dir) localPolicy() (localPolicy, error) {
	var p localPolicy
	text, err := os.ReadFile(d.policyFile())
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}
