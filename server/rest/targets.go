package rest

import (
	. "reeve/api"
	"reeve/server/fleet"
)

// selectorIn reads targets. Both sides have the same JSON: a selector is stored and sent as it is.
func selectorIn(t Targets) (fleet.Selector, error) {
	s, err := recode[fleet.Selector](t)
	if err != nil {
		return s, err
	}
	return s, s.Validate()
}
