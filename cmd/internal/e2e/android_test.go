package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push/fcm/fcmsim"
	"wakebridge/sipua/softphone"
)

const androidToken = "cX9-_y:APA91bHun4MxP5egoKMwt2KZFBaFUH"

// google is a simulated FCM for the project "example", and how the configuration
// names it.
func google(t *testing.T) (*fcmsim.Sim, func(*config.Config)) {
	t.Helper()
	sim, err := fcmsim.New("example")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	sim.Register(androidToken)
	account, err := sim.Account()
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, text []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	accountFile, caFile := file("fcm.json", account), file("ca.pem", sim.CA())
	return sim, func(c *config.Config) {
		c.Push.Apps = append(c.Push.Apps, config.App{Provider: "fcm", ProjectID: "example", ServiceAccountFile: accountFile, Payload: "wakebridge", CallerName: true})
		c.Push.FCM = config.FCM{URL: sim.URL(), CAFile: caFile}
	}
}

// startWithGoogle is start with a simulated FCM, to whose journal the promises apply as
// well.
func startWithGoogle(t *testing.T, adjust func(*config.Config)) (*server, *fcmsim.Sim) {
	t.Helper()
	sim, withGoogle := google(t)
	s := start(t, func(c *config.Config) { adjust(c); withGoogle(c) })
	s.google = sim
	return s, sim
}

// androidAccount registers over TCP at s as an Android app does.
func androidAccount(s *server) softphone.Account {
	acc := account(s, "", "")
	acc.Contact = func() (uri, params sip.HeaderParams) {
		return sip.HeaderParams{{K: "pn-provider", V: "fcm"}, {K: "pn-param", V: "example"}, {K: "pn-prid", V: strings.ReplaceAll(androidToken, ":", "%3A")}},
			sip.HeaderParams{softphone.InstanceParam("urn:uuid:5f0f5b1c-0000-4000-8000-00000000000a")}
	}
	return acc
}

// sleepingAndroid is a phone that registered and then lost its connection.
func sleepingAndroid(t *testing.T, s *server) *softphone.Phone {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a := app(t, 620)
	reg, registered, err := a.RegisterAndWait(ctx, androidAccount(s))
	if err != nil {
		t.Fatal(err)
	}
	if got := registered.Response.GetHeader("Feature-Caps"); got == nil || !strings.Contains(got.Value(), `+sip.pns="fcm"`) {
		t.Errorf("the 200 does not promise pushes: %v", got)
	}
	reg.Close()
	a.Disconnect(registered.Flow)
	return a
}

func received(ctx context.Context, t *testing.T, sim *fcmsim.Sim) fcmsim.Message {
	t.Helper()
	select {
	case m := <-sim.Deliveries():
		return m
	case <-ctx.Done():
		t.Fatal("no push came")
		return fcmsim.Message{}
	}
}

func TestSleepingAndroidIsWoken(t *testing.T) {
	p, port := pbx(t, 440)
	s, sim := startWithGoogle(t, trunkAt(port))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a := sleepingAndroid(t, s)
	out := dial(t, s, p, "201")
	m := received(ctx, t, sim)
	if m.Token != androidToken || m.Priority != "HIGH" || m.Data["type"] != "call" || m.Data["handle"] != "100" {
		t.Errorf("push: %+v", m)
	}
	if _, _, err := a.RegisterAndWait(ctx, androidAccount(s)); err != nil {
		t.Fatal(err)
	}
	in, err := a.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if id := in.Invite().GetHeader("X-Call-UUID").Value(); id != m.Data["uuid"] || in.CallID() != m.Data["call_id"] {
		t.Errorf("INVITE %s %s for push %v", id, in.CallID(), m.Data)
	}
	if strings.Contains(in.Invite().String(), "APA91b") {
		t.Error("the INVITE carries the push token")
	}
	if err := in.Answer(); err != nil {
		t.Fatal(err)
	}
	hears(t, "the caller", out, 620)
	hears(t, "the phone", in, 440)
	if err := in.Hangup(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	if r := s.record(t, 0); r.Result != bridge.Answered || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 || !r.Attempts[0].Pushes[0].Accepted {
		t.Errorf("record: %+v", r)
	}
	if n := len(sim.Requests()); n != 1 {
		t.Errorf("%d messages for one answered call", n)
	}
}

// The caller gives up while the phone sleeps: Android's app is told at once, in
// the call that it rings for.
func TestAndroidIsToldThatTheCallerGaveUp(t *testing.T) {
	p, port := pbx(t, 440)
	s, sim := startWithGoogle(t, trunkAt(port))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sleepingAndroid(t, s)
	out := dial(t, s, p, "201")
	first := received(ctx, t, sim)
	if _, err := out.Wait(ctx, softphone.Ringing); err != nil { // push.ringing: on_push, so that the push counts as accepted
		t.Fatal(err)
	}
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	second := received(ctx, t, sim)
	if first.Data["type"] != "call" || second.Data["type"] != "cancel" || second.Data["uuid"] != first.Data["uuid"] || second.Token != androidToken {
		t.Errorf("%+v, then %+v", first, second)
	}
	if r := s.record(t, 0); len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 {
		t.Errorf("record: %+v", r)
	}
}

// The answer to a push is lost, so it goes out again: for the same call, and the record
// says so. A run with a third one, or with one that no record has, is not in order.
func TestAndroidPushWhoseAnswerIsLost(t *testing.T) {
	p, port := pbx(t, 440)
	s, sim := startWithGoogle(t, trunkAt(port))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	sleepingAndroid(t, s)
	sim.Fail(fcmsim.Fault{Cut: true})
	out := dial(t, s, p, "201")
	first, second := received(ctx, t, sim), received(ctx, t, sim)
	if first.Data["type"] != "call" || second.Data["type"] != "call" || second.Data["uuid"] != first.Data["uuid"] {
		t.Errorf("%+v, then %+v", first, second)
	}
	if _, err := out.Wait(ctx, softphone.Ringing); err != nil {
		t.Fatal(err)
	}
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	received(ctx, t, sim) // it is taken back
	rec := s.record(t, 0)
	if len(rec.Attempts) != 1 || len(rec.Attempts[0].Pushes) != 1 || !rec.Attempts[0].Pushes[0].Hedged {
		t.Errorf("record: %s", show(rec))
	}
	again := sim.Requests()[0]
	stranger := again
	stranger.Body = strings.ReplaceAll(again.Body, first.Data["uuid"], "5f0f5b1c-0000-4000-8000-00000000000b")
	for want, doctored := range map[string]fcmsim.Request{"3 FCM messages were accepted": again, "which no call has": stranger} {
		o := observe(s.cfg)
		o.Recorded(rec)
		o.Google(append(sim.Requests(), doctored))
		if broken := o.Check(nil); len(broken) != 1 || !strings.Contains(broken[0], want) {
			t.Errorf("%q, not %q alone", broken, want)
		}
	}
}
