package apns

import (
	"maps"
	"slices"
	"time"

	"wakebridge/push"
)

// Reasons lists the reasons that the table of rules knows, Apple's and ours,
// sorted.
func Reasons() []push.Reason { return slices.Sorted(maps.Keys(rules)) }

// Check signs a provider token for a team and throws it away: it says whether the
// key can sign, not whether Apple takes it, and Apple does not hear of it. Errors
// wrap ErrBadKey.
func (k Key) Check(team string) error {
	_, err := sign(team, k, time.Now())
	return err
}
