package e2e

import (
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/cmd/internal/sim"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// A caller gives up while the phone is offline. APNs keeps one push for each app: the
// phone that is back within 8 s of the push gets the call's, and hears its fate; a
// later one gets the missed-call alert in its place, does not start the app, and the
// fate waits for the next launch.
func TestCallerGivesUpWhileThePhoneIsOffline(t *testing.T) {
	t.Parallel() // 8 s of it are waiting
	for name, c := range map[string]struct {
		late bool
		then string
	}{
		"back in time": {false, "wait push voip\nwait call-reported\nwait fate-told remoteEnded\nwait ended remoteEnded\n"},
		"back late": {true, "wait push alert\nwait notification-shown\nstatus\n" +
			"foreground\nwait fate-told remoteEnded\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, port := pbx(t, 440)
			s := start(t, trunkAt(port))
			in, typed := io.Pipe()
			t.Cleanup(func() { in.Close() })
			r := simPhoneObeying(t, s, "", in)
			io.WriteString(typed, "wait registered\nsleep\nairplane on\n")
			r.sees(t, 1, iphone.Suspended)
			allAsleep(t, s, 1)
			wait(t, 5*time.Second, "airplane mode", func() (bool, string) { return !s.apns.Device("iphone").IsOnline(), r.story() })
			out := dial(t, s, p, "201")
			ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
			defer cancel()
			if _, err := out.Wait(ctx, softphone.Ringing); err != nil { // the push was accepted
				t.Fatal(err)
			}
			if err := out.Hangup(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Ended(ctx); err != nil {
				t.Fatal(err)
			}
			if c.late {
				wait(t, 15*time.Second, "the missed-call alert", func() (bool, string) {
					return len(s.apns.Requests(apnssim.Filter{Topic: sim.DefaultBundle})) > 0, r.story()
				})
			}
			io.WriteString(typed, "airplane off\n"+c.then)
			typed.Close()
			if last := r.end(t); last.Result != "passed" {
				t.Errorf("%+v%s", last, r.story())
			}
			r.missed(t, s, c.late)
		})
	}
}

// missed checks that a phone which was late shows a missed call and no ringing one,
// and that the server then has no more to tell.
func (r *simRun) missed(t *testing.T, s *server, late bool) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		switch {
		case late && (l.Kind == iphone.Reported || l.Kind == iphone.PushReceived && l.Text == "voip"):
			t.Errorf("late, and %s %s", l.Kind, l.Text)
		case !late && l.Kind == iphone.Notified:
			t.Errorf("in time, and %s %s", l.Kind, l.Text)
		case l.Status != nil && (l.Status.App != "suspended" || l.Status.Registered):
			t.Errorf("the alert started the app: %+v", *l.Status)
		}
	}
	for _, req := range s.apns.Requests(apnssim.Filter{Topic: sim.DefaultBundle}) {
		var body struct{ Type string }
		if err := json.Unmarshal(req.Payload, &body); err != nil || body.Type != "missed" {
			t.Errorf("%s, %v", req.Payload, err)
		}
	}
	for _, d := range s.Memory().Devices(sipua.NewAOR("alice", daemon.DevDomain)) {
		for _, f := range s.Memory().Fates(d.Ref()) {
			if !f.Told {
				t.Errorf("not told of %s", f.UUID)
			}
		}
	}
}

// While the caller waits the VoIP push keeps its place: the call's alert, which follows
// after 8 s, is delivered at once or never. A phone that comes back then rings.
func TestPhoneComesBackLateWhileTheCallerWaits(t *testing.T) {
	t.Parallel() // 8 s of it are waiting
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	in, typed := io.Pipe()
	t.Cleanup(func() { in.Close() })
	r := simPhoneObeying(t, s, "", in)
	io.WriteString(typed, "wait registered\nsleep\nairplane on\n")
	r.sees(t, 1, iphone.Suspended)
	allAsleep(t, s, 1)
	wait(t, 5*time.Second, "airplane mode", func() (bool, string) { return !s.apns.Device("iphone").IsOnline(), r.story() })
	out := dial(t, s, p, "201")
	wait(t, 15*time.Second, "the call's alert", func() (bool, string) {
		return len(s.apns.Requests(apnssim.Filter{Topic: sim.DefaultBundle})) > 0, r.story()
	})
	if until := s.apns.Requests(apnssim.Filter{Topic: sim.DefaultBundle})[0].Get("apns-expiration"); until != "0" {
		t.Errorf("the alert may be kept until %s", until)
	}
	io.WriteString(typed, "airplane off\nwait push voip\nwait 180-sent\ndecline\nwait ended declined\n")
	typed.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if e, err := out.Ended(ctx); err != nil || e.Status != 603 {
		t.Errorf("the caller: %+v, %v%s", e, err, r.story())
	}
	if last := r.end(t); last.Result != "passed" {
		t.Errorf("%+v%s", last, r.story())
	}
}
