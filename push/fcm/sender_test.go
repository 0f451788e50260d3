package fcm_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"wakebridge/push"
	"wakebridge/push/fcm"
	"wakebridge/push/fcm/fcmsim"
)

const token = "cX9-_y:APA91bHun4MxP5egoKMwt2KZFBaFUH"

// harness is an app's sender against the simulated FCM.
type harness struct {
	t       *testing.T
	sim     *fcmsim.Sim
	account fcm.Account
	service *fcm.Service
	sender  push.Sender
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	return newHarnessFor(t, "example")
}

func newHarnessFor(t *testing.T, project string) *harness {
	t.Helper()
	sim, err := fcmsim.New("example")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	sim.Register(token)
	file, err := sim.Account()
	if err != nil {
		t.Fatal(err)
	}
	account, err := fcm.ParseAccount(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(sim.CA())
	h := &harness{t: t, sim: sim, account: account}
	h.service, err = fcm.New(fcm.Config{URL: sim.URL(), RootCAs: pool, Apps: []fcm.App{{ProjectID: project, Account: account}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.service.Close(); err != nil {
			t.Error(err)
		}
	})
	h.service.Warmed() // signed in: faults set from here on meet pushes
	h.sender = h.service.Routes()[0].Sender
	return h
}

func call() push.Notification {
	return push.Notification{Kind: push.VoIP, UUID: "5f0f5b1c-0000-4000-8000-000000000001", Handle: "100", SentAt: time.Now(),
		Expiration: time.Now().Add(25500 * time.Millisecond)}
}

func (h *harness) send(to push.DeviceToken) push.Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Second)
	defer cancel()
	return h.sender.Send(ctx, push.Target{Token: to}, call())
}

func TestSend(t *testing.T) {
	h := newHarness(t)
	for range 2 {
		r := h.send(token)
		if r.Outcome != push.Accepted || r.Status != 200 || r.Reason != "" || r.Tries != 1 || r.Written.IsZero() || !r.Dead.IsZero() {
			t.Fatalf("%+v", r)
		}
	}
	m := <-h.sim.Deliveries()
	if m.Token != token || m.Priority != "HIGH" || m.TTL != "25s" && m.TTL != "24s" || m.Data["type"] != "call" || m.Data["handle"] != "100" {
		t.Errorf("%+v", m)
	}
	if got := h.sim.Requests(); got[0].Proto != "HTTP/2.0" || got[0].Bearer != got[1].Bearer || h.sim.SignIns() != 1 {
		t.Errorf("%d sign-ins for %+v", h.sim.SignIns(), got)
	}
}

func TestCancelMessage(t *testing.T) {
	h := newHarness(t)
	n := call()
	n.Kind, n.Expiration = push.Cancel, time.Time{}
	if r := h.sender.Send(t.Context(), push.Target{Token: token}, n); r.Outcome != push.Accepted {
		t.Fatalf("%+v", r)
	}
	if m := <-h.sim.Deliveries(); m.Data["type"] != "cancel" || m.Data["uuid"] != n.UUID || m.TTL != "0s" || m.Data["handle"] != "" {
		t.Errorf("%+v", m)
	}
	if can := h.sender.Can(); can != (push.Capability{VoIP: true, Cancel: true, Quiet: true}) {
		t.Errorf("%+v", can)
	}
}

func TestRefusals(t *testing.T) {
	const stranger = "stranger:APA91b"
	tests := []struct {
		name   string
		token  push.DeviceToken
		reason string // of the simulator for the token
		faults []fcmsim.Fault
		want   push.Reason
		text   string
		dead   bool
		tries  int
	}{
		{"uninstalled", "gone:APA91b", "UNREGISTERED", nil, "UNREGISTERED", "FCM refused the token: UNREGISTERED (the app was removed", true, 1},
		{"no token of anybody", stranger, "", nil, "INVALID_ARGUMENT", "it is not an FCM registration token", true, 1},
		{"another project's", "other:APA91b", "SENDER_ID_MISMATCH", nil, "SENDER_ID_MISMATCH", "another Firebase project", false, 1},
		{"a fault that is not the token's", token, "", []fcmsim.Fault{{Status: 400, Reason: "INVALID_ARGUMENT"}}, "INVALID_ARGUMENT", "FCM refused the request", false, 1},
		{"404 of something else", token, "", []fcmsim.Fault{{Status: 404}}, "NOT_FOUND", "check project_id", false, 1},
		{"forbidden", token, "", []fcmsim.Fault{{Status: 403}}, "PERMISSION_DENIED", "FCM refused the service account", false, 1},
		{"a reason that nobody knows", token, "", []fcmsim.Fault{{Status: 418, Reason: "NEW_REASON"}}, "NEW_REASON", "FCM refused the push: NEW_REASON", false, 1},
		{"a reason that is none", token, "", []fcmsim.Fault{{Status: 418, Reason: "x\ny"}}, "HTTP 418", "HTTP 418", false, 1},
		{"out of order for long", token, "", []fcmsim.Fault{{Status: 503, Reason: "UNAVAILABLE"}, {Status: 500, Reason: "INTERNAL"}, {Status: 503, Reason: "UNAVAILABLE"}},
			"UNAVAILABLE", "overloaded", false, 3},
		{"quota for longer than the call", token, "", []fcmsim.Fault{{Status: 429, Reason: "QUOTA_EXCEEDED", RetryAfter: "60"}}, "QUOTA_EXCEEDED", "too many", false, 1},
		{"signed out for good", token, "", []fcmsim.Fault{{Status: 401}, {Status: 401}}, "UNAUTHENTICATED", "clock", false, 2},
		{"another kind of app", token, "", []fcmsim.Fault{{Status: 401, Reason: "THIRD_PARTY_AUTH_ERROR"}}, "THIRD_PARTY_AUTH_ERROR", "not an Android app's", false, 1},
		{"no token at all", "", "", nil, push.Malformed, "not one of FCM", false, 0},
		{"a token with a space", "a b", "", nil, push.Malformed, "not one of FCM", false, 0},
		{"a token too long", push.DeviceToken(strings.Repeat("x", 4097)), "", nil, push.Malformed, "not one of FCM", false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHarness(t)
			if tt.reason != "" {
				h.sim.Refuse(tt.token.Secret(), tt.reason)
			}
			h.sim.Fail(tt.faults...)
			start := time.Now()
			r := h.send(tt.token)
			if r.Outcome != push.Refused || r.Reason != tt.want || !strings.Contains(r.Text, tt.text) || r.Tries != tt.tries {
				t.Errorf("%+v", r)
			}
			if strings.Contains(r.Text, "APA91b") {
				t.Errorf("the text tells the token: %s", r.Text)
			}
			if r.Dead.IsZero() == tt.dead || tt.dead && (r.Dead.Token != tt.token || r.Dead.Kind != push.VoIP || r.Dead.Since.Before(start)) {
				t.Errorf("dead: %+v", r.Dead)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	tests := []struct {
		name   string
		fault  fcmsim.Fault
		atMost time.Duration // of the pause; at least is what the fault wants
		least  time.Duration
	}{
		{"503", fcmsim.Fault{Status: 503, Reason: "UNAVAILABLE"}, 5 * time.Second, 100 * time.Millisecond},
		{"500", fcmsim.Fault{Status: 500, Reason: "INTERNAL"}, 5 * time.Second, 100 * time.Millisecond},
		{"502 of a proxy", fcmsim.Fault{Status: 502}, 5 * time.Second, 100 * time.Millisecond},
		{"429", fcmsim.Fault{Status: 429, Reason: "QUOTA_EXCEEDED", RetryAfter: "1"}, 10 * time.Second, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.sim.Fail(tt.fault)
			start := time.Now()
			r := h.send(token)
			if took := time.Since(start); r.Outcome != push.Accepted || r.Tries != 2 || took < tt.least || took > tt.atMost {
				t.Errorf("%s: %+v", took, r)
			}
		})
	}
}

func TestAccessTokenIsRenewedOnce(t *testing.T) {
	h := newHarness(t)
	if r := h.send(token); r.Outcome != push.Accepted {
		t.Fatalf("%+v", r)
	}
	h.sim.Expire()
	if r := h.send(token); r.Outcome != push.Accepted || r.Tries != 2 {
		t.Errorf("%+v", r)
	}
	if got := h.sim.Requests(); len(got) != 3 || got[0].Bearer != got[1].Bearer || got[1].Bearer == got[2].Bearer || h.sim.SignIns() != 2 {
		t.Errorf("%d sign-ins, %+v", h.sim.SignIns(), got)
	}
}

func TestServiceAccountIsRefused(t *testing.T) {
	h := newHarness(t)
	h.service.SignOut()
	h.sim.Fail(fcmsim.Fault{SignIn: true, Status: 400, Reason: "invalid_grant"})
	r := h.send(token)
	if r.Outcome != push.Refused || r.Reason != push.NoCredential || !strings.Contains(r.Text, "invalid_grant") || !r.Written.IsZero() || r.Tries != 1 {
		t.Errorf("%+v", r)
	}
	h.sim.Fail(fcmsim.Fault{SignIn: true, Status: 503, Reason: "later"})
	if r := h.send(token); r.Outcome != push.Accepted || r.Tries != 2 {
		t.Errorf("after a hiccup: %+v", r)
	}
}

// Whoever waits for a silent Google stops when the call does, at the deadline,
// or when the server ends.
func TestSilence(t *testing.T) {
	for _, signIn := range []bool{true, false} {
		h := newHarness(t)
		if signIn {
			h.service.SignOut()
		}
		h.sim.Fail(fcmsim.Fault{SignIn: signIn, Hang: true}, fcmsim.Fault{SignIn: signIn, Hang: true})
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if r := h.sender.Send(ctx, push.Target{Token: token}, call()); r.Outcome != push.NoAnswer || r.Reason != push.Deadline || r.Written.IsZero() != signIn {
			t.Errorf("sign-in %t: %+v", signIn, r)
		}
		ctx, stop := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, stop)
		if r := h.sender.Send(ctx, push.Target{Token: token}, call()); r.Outcome != push.NoAnswer || r.Reason != push.Stopped {
			t.Errorf("sign-in %t: %+v", signIn, r)
		}
	}
}

func TestUnreachable(t *testing.T) {
	h := newHarness(t)
	h.sim.Close()
	r := h.send(token)
	if r.Outcome != push.NoAnswer || r.Reason != push.Unreachable || r.Tries != 3 || !strings.Contains(r.Text, "FCM cannot be reached") {
		t.Errorf("%+v", r)
	}
	if err := h.service.Close(); err != nil {
		t.Error(err)
	}
	if r := h.send(token); r.Outcome != push.NoAnswer || r.Reason != push.Closed {
		t.Errorf("%+v", r)
	}
}

func TestConfigFaults(t *testing.T) {
	h := newHarness(t)
	account := h.account
	for _, c := range []fcm.Config{
		{URL: "http://127.0.0.1"}, {URL: "https://127.0.0.1/v1"}, {URL: "https://user@127.0.0.1"}, {URL: "::"},
		{Apps: []fcm.App{{ProjectID: "My Project", Account: account}}}, {Apps: []fcm.App{{ProjectID: "a/../b", Account: account}}},
		{Apps: []fcm.App{{ProjectID: "example"}}},
	} {
		if s, err := fcm.New(c); !errors.Is(err, fcm.ErrBadConfig) {
			t.Errorf("%+v: %v", c, err)
			if s != nil {
				s.Close()
			}
		}
	}
}

func TestAnotherProjectsAccount(t *testing.T) {
	h := newHarnessFor(t, "other-project")
	if r := h.send(token); r.Outcome != push.Refused || r.Reason != "PERMISSION_DENIED" || r.Status != 403 || !strings.Contains(r.Text, "project_id") {
		t.Errorf("%+v", r)
	}
}

func TestSigningInFailsAtTheStart(t *testing.T) {
	h := newHarness(t)
	h.sim.Fail(fcmsim.Fault{SignIn: true, Status: 401, Reason: "invalid_client"})
	var log bytes.Buffer
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(h.sim.CA())
	account := h.account
	s, err := fcm.New(fcm.Config{URL: h.sim.URL(), RootCAs: pool, Apps: []fcm.App{{ProjectID: "example", Account: account}}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.Warmed()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if text := log.String(); !strings.Contains(text, "invalid_client") || !strings.Contains(text, account.Email) || strings.Contains(text, "PRIVATE") {
		t.Error(text)
	}
}

// A sign-in on demand asks Google each time, by the account that is in use.
func TestSignIn(t *testing.T) {
	h := newHarness(t)
	before := h.sim.SignIns()
	until, err := h.service.SignIn(t.Context(), "example", h.account)
	if err != nil || time.Until(until) < 50*time.Minute || h.sim.SignIns() != before+1 {
		t.Errorf("%v %v, %d sign-ins", until, err, h.sim.SignIns()-before)
	}
	h.sim.Fail(fcmsim.Fault{SignIn: true, Status: 400, Reason: "invalid_grant"})
	var refused *fcm.SignInError
	if _, err := h.service.SignIn(t.Context(), "example", h.account); !errors.As(err, &refused) || refused.Reason != push.NoCredential || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("%v", err)
	}
	h.sim.Fail(fcmsim.Fault{SignIn: true, Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.service.SignIn(ctx, "example", h.account); !errors.As(err, &refused) || refused.Reason != push.Deadline {
		t.Errorf("%v", err)
	}
	other := h.account
	other.Email = "other@example.com"
	for project, a := range map[string]fcm.Account{"example": other, "unknown": h.account} {
		if _, err := h.service.SignIn(t.Context(), project, a); !errors.Is(err, fcm.ErrOtherAccount) {
			t.Errorf("%s as %s: %v", project, a, err)
		}
	}
	if r := h.send(token); r.Outcome != push.Accepted {
		t.Errorf("the service's own token: %+v", r)
	}
}

// The answer is lost, the push is not: it is sent once more, counted, and never a
// third time.
func TestLostAfterAcceptance(t *testing.T) {
	h := newHarness(t)
	h.sim.Fail(fcmsim.Fault{Cut: true})
	if r := h.send(token); r.Outcome != push.Accepted || !r.Hedged || r.Tries != 2 || len(h.sim.Deliveries()) != 2 {
		t.Errorf("%+v, %d delivered", r, len(h.sim.Deliveries()))
	}
	h.sim.Fail(fcmsim.Fault{Cut: true}, fcmsim.Fault{Cut: true})
	if r := h.send(token); r.Outcome != push.NoAnswer || r.Reason != push.Lost || !r.Hedged || r.Tries != 2 || len(h.sim.Deliveries()) != 4 {
		t.Errorf("%+v, %d delivered", r, len(h.sim.Deliveries()))
	}
	h.sim.Fail(fcmsim.Fault{Status: 503, Reason: "UNAVAILABLE"})
	if r := h.send(token); r.Outcome != push.Accepted || r.Hedged || r.Tries != 2 {
		t.Errorf("a try that was refused is no hedge: %+v", r)
	}
}
