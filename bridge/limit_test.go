package bridge

import (
	"strings"
	"testing"
	"time"
)

// Each limit refuses without using up the other one.
func TestWakeLimitsAreTakenTogether(t *testing.T) {
	const caller, user = "wakes_per_caller", "wakes_per_user"
	now := time.Unix(1e9, 0)
	tests := []struct {
		name               string
		perUser, perCaller Rate
		calls              []string // "caller" or "caller after"
		want               []string // why not
	}{
		{"the user's limit leaves the caller's", Rate{2, time.Hour}, Rate{2, 100 * time.Hour},
			[]string{"a", "b", "a", "a", "a", "+1h", "a"}, []string{"", "", user, user, user, ""}},
		{"the caller's limit leaves the user's", Rate{2, 100 * time.Hour}, Rate{1, 100 * time.Hour},
			[]string{"a", "a", "a", "b", "c"}, []string{"", caller, caller, "", user}},
		{"both at their end: the caller hears of its own", Rate{1, time.Hour}, Rate{1, time.Hour}, []string{"a", "a"}, []string{"", caller}},
		{"nobody knows the caller", Rate{1, time.Hour}, Rate{1, time.Hour}, []string{"", ""}, []string{"", user}},
		{"no limit of the user", Rate{}, Rate{1, time.Hour}, []string{"a", "b", "a"}, []string{"", "", caller}},
		{"no limit of callers", Rate{1, time.Hour}, Rate{}, []string{"a", "b"}, []string{"", user}},
		{"no limit", Rate{}, Rate{}, []string{"a", "a"}, []string{"", ""}},
	}
	for _, tt := range tests {
		w, at := newWakeLimits(tt.perUser, tt.perCaller), now
		want := tt.want
		for i, who := range tt.calls {
			if who == "+1h" {
				at = at.Add(time.Hour)
				continue
			}
			why := w.allow("alice", who, at)
			if (why == "") != (want[0] == "") || !strings.Contains(why, want[0]) {
				t.Errorf("%s: call %d: %q, want %q", tt.name, i, why, want[0])
			}
			want = want[1:]
		}
	}
}
