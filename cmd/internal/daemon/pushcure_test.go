package daemon

import (
	"slices"
	"testing"

	"wakebridge/push"
	"wakebridge/push/apns"
)

// Each reason that the sender knows has a cure, and so has each that is ours.
func TestEachReasonHasACure(t *testing.T) {
	ours := []push.Reason{push.UnknownApp, push.NoToken, push.NoCredential, push.Malformed, push.Unsendable, push.Deadline, push.Stopped,
		push.Unreachable, push.Lost, push.Overloaded, push.Closed, push.Broken}
	known := apns.Reasons()
	if len(known) < 30 {
		t.Fatalf("only %d reasons", len(known))
	}
	for _, r := range slices.Concat(known, ours) {
		if cures()[r] == "" {
			t.Errorf("%s: no cure", r)
		}
	}
	if cure(push.Result{Reason: "SomethingNew"}) == "" {
		t.Error("no cure for a reason that Apple adds")
	}
}
