package apns_test

import (
	"errors"
	"slices"
	"testing"

	"wakebridge/push"
	"wakebridge/push/apns"
)

func TestKnownReasons(t *testing.T) {
	got := apns.Reasons()
	for _, want := range []push.Reason{"BadDeviceToken", "Unregistered", "TooManyProviderTokenUpdates", push.Lost} {
		if !slices.Contains(got, want) {
			t.Errorf("no %s in %v", want, got)
		}
	}
	if !slices.IsSorted(got) {
		t.Errorf("not sorted: %v", got)
	}
}

func TestKeyChecksItself(t *testing.T) {
	if err := anyKey(t).Check("ABCDE12345"); err != nil {
		t.Error(err)
	}
	if err := (apns.Key{ID: keyID}).Check("ABCDE12345"); !errors.Is(err, apns.ErrBadKey) {
		t.Errorf("a key that was not loaded: %v", err)
	}
}
