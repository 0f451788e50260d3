package apns

import (
	"fmt"
	"maps"
	"slices"

	"github.com/sideshow/apns2/token"

	"wakebridge/push"
)

// Reasons lists the reasons that the table of rules knows, Apple's and ours,
// sorted.
func Reasons() []push.Reason { return slices.Sorted(maps.Keys(rules)) }

// Check signs a provider token for a team and throws it away: it says whether the
// key can sign, not whether Apple takes it, and Apple does not hear of it. Errors
// wrap ErrBadKey.
func (k Key) Check(team string) error {
	if k.private == nil {
		return fmt.Errorf("%s was not loaded: %w", k, ErrBadKey)
	}
	t := token.Token{AuthKey: k.private, KeyID: k.ID, TeamID: team}
	if _, err := t.Generate(); err != nil {
		return fmt.Errorf("sign provider token with %s: %w: %w", k, ErrBadKey, err)
	}
	return nil
}
