package pushtest

import (
	"slices"
	"strings"
	"testing"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/fcm"
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
	google := fcm.Reasons()
	if len(google) < 11 {
		t.Fatalf("only %d reasons of FCM", len(google))
	}
	for _, r := range slices.Concat(google, ours) {
		text := cure(push.FCM, push.Result{Reason: r})
		if strings.Contains(text, "Google's documentation") || strings.Contains(text, "apple") || strings.Contains(text, "hexadecimal") {
			t.Errorf("%s of FCM: %s", r, text)
		}
	}
	for service, want := range map[push.Service]string{"": "Apple", push.FCM: "Google"} {
		if text := cure(service, push.Result{Reason: "SomethingNew"}); !strings.Contains(text, want) {
			t.Errorf("a reason that %s adds: %s", want, text)
		}
	}
}
