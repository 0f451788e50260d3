package location

import (
	"testing"
	"time"
)

func TestSuspicionAndBackOff(t *testing.T) {
	both := PushInfo{VoIP: Token{Value: "aa"}, Alert: Token{Value: "bb"}}
	for _, test := range []struct {
		name       string
		push       PushInfo
		unanswered int
		suspected  bool
		wait       time.Duration // from the last VoIP push
	}{
		{"healthy", both, 0, false, 0},
		{"one push got lost", both, 1, false, 0},
		{"two", both, 2, true, 30 * time.Second},
		{"three", both, 3, true, time.Minute},
		{"four", both, 4, true, 2 * time.Minute},
		{"five", both, 5, true, 4 * time.Minute},
		{"six", both, 6, true, 8 * time.Minute},
		{"seven", both, 7, true, 10 * time.Minute},
		{"very many", both, 1 << 40, true, 10 * time.Minute},
		{"nothing but VoIP pushes", PushInfo{VoIP: Token{Value: "aa"}}, 5, false, 0},
		{"no VoIP pushes", PushInfo{Alert: Token{Value: "bb"}}, 5, false, 0},
	} {
		d := Device{Push: test.push, Health: Health{Unanswered: test.unanswered, LastVoIP: epoch}}
		var want time.Time
		if test.suspected {
			want = epoch.Add(test.wait)
		}
		if d.Suspected() != test.suspected || !d.VoIPDue().Equal(want) {
			t.Errorf("%s: suspected %t, due %s", test.name, d.Suspected(), d.VoIPDue())
		}
	}
}

func TestRefreshAt(t *testing.T) {
	const day = 24 * time.Hour
	alert := PushInfo{VoIP: Token{Value: "aa"}, Alert: Token{Value: "bb"}}
	lasting := func(lease time.Duration) []Binding {
		return []Binding{{Contact: "<sip:a@h>", Registered: epoch, Expires: epoch.Add(lease)}}
	}
	tag := []Binding{{Contact: "<sip:a@h>;+SIP.PNSREG", Registered: epoch, Expires: epoch.Add(7 * day)}}
	two := []Binding{lasting(time.Hour)[0], lasting(10 * time.Hour)[0]}
	asked := func(n int, at time.Duration) Health { return Health{Refreshes: n, LastRefresh: epoch.Add(at)} }
	for _, test := range []struct {
		name   string
		device Device
		want   time.Duration // after the REGISTER; 0: never
	}{
		{"a week: a tenth before the end", Device{Push: alert, Bindings: lasting(7 * day)}, 7*day - 7*day/10},
		{"ten minutes: 120 s before the end", Device{Push: alert, Bindings: lasting(10 * time.Minute)}, 8 * time.Minute},
		{"too short to be worth it", Device{Push: alert, Bindings: lasting(7 * time.Minute)}, 0},
		{"the longest binding counts", Device{Push: alert, Bindings: two}, 9 * time.Hour},
		{"an app that refreshes by itself", Device{Push: alert, Bindings: tag}, 7*day - 4*time.Minute},
		{"VoIP token alone", Device{Push: PushInfo{VoIP: Token{Value: "aa"}}, Bindings: lasting(7 * day)}, 0},
		{"no token", Device{Bindings: lasting(7 * day)}, 0},
		{"logged out", Device{Push: alert, Bindings: lasting(7 * day), LoggedOut: epoch}, 0},
		{"log-out pending", Device{Push: alert, Bindings: lasting(7 * day), LogoutDue: epoch}, 0},
		{"expired", Device{Push: alert}, 0},
		{"asked once", Device{Push: alert, Bindings: lasting(7 * day), Health: asked(1, 6*day+20*time.Hour)}, 6*day + 23*time.Hour},
		{"asked twice: twice the distance", Device{Push: alert, Bindings: lasting(7 * day), Health: asked(2, 6*day+10*time.Hour)}, 6*day + 16*time.Hour},
		{"the next would come after the end", Device{Push: alert, Bindings: lasting(7 * day), Health: asked(3, 6*day+20*time.Hour)}, 0},
		{"asked before the last REGISTER: the distance is kept", Device{Push: alert, Bindings: lasting(4 * time.Hour), Health: asked(0, 50*time.Minute)}, 3*time.Hour + 50*time.Minute},
		{"short leases are not worth a push each", Device{Push: alert, Bindings: lasting(time.Hour), Health: asked(0, -time.Hour)}, 0},
		{"asked very often", Device{Push: alert, Bindings: lasting(30 * day), Health: asked(1<<40, 20*day)}, 28 * day},
	} {
		at := Rules{}.RefreshAt(test.device)
		var want time.Time
		if test.want > 0 {
			want = epoch.Add(test.want)
		}
		if !at.Equal(want) {
			t.Errorf("%s: %s after the REGISTER, want %s", test.name, at.Sub(epoch), test.want)
		}
	}
}
