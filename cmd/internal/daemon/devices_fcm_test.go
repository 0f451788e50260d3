package daemon

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/api"
	"wakebridge/config"
	"wakebridge/push/fcm/fcmsim"
)

// serveAndroid is a server with an Android app beside the other, and the FCM that
// it pushes to.
func serveAndroid(t *testing.T) (*httpServer, *fcmsim.Sim) {
	t.Helper()
	sim, change := androidSim(t)
	return serveHTTP(t, func(c *config.Config) { change(&c.Push) }), sim
}

func androidAnnouncement() api.Announcement {
	return api.Announcement{Provider: "fcm", BundleID: androidProject, VoIPToken: androidToken}
}

// A device whose backend announced its FCM token is woken through FCM.
func TestAndroidDeviceOverHTTP(t *testing.T) {
	s, sim := serveAndroid(t)
	var d api.Device
	if status := s.ask("PUT", devicePath(devPhone), androidAnnouncement(), &d); status != 201 || !d.Wakeable || d.Push.Provider != "fcm" ||
		d.Push.BundleID != androidProject || d.Push.VoIPToken == nil || d.Push.VoIPToken.Value == androidToken || d.Push.AlertToken != nil {
		t.Fatalf("%d %+v", status, d)
	}
	if p := s.devicesOnDisk()[0].Push; p.VoIP.Value != androidToken || p.Provider != "fcm" || p.BundleID != androidProject {
		t.Errorf("on disk: %+v", p)
	}
	w := wakeOf(s.memory.Devices(callee)[0])
	results := make(chan bridge.WakeResult, 1)
	s.waker.Wake(t.Context(), w, func(r bridge.WakeResult) { results <- r })
	if r := <-results; !r.Accepted {
		t.Errorf("%+v", r)
	}
	if m := delivery(t, sim); m.Token != androidToken || m.Data["uuid"] != w.UUID || m.Data["type"] != "call" {
		t.Errorf("%+v", m)
	}
	wrong := androidAnnouncement()
	wrong.AlertToken = androidToken
	if status := s.ask("PUT", devicePath(devPhone), wrong, nil); status != 422 {
		t.Errorf("with an alert token: %d", status)
	}
	if status := s.ask("PUT", devicePath(devPhone), announcement(androidToken, ""), nil); status != 422 {
		t.Errorf("as a token of APNs: %d", status)
	}
	if status := s.ask("DELETE", devicePath(devPhone), nil, nil); status != 204 || len(s.memory.Devices(callee)) != 0 {
		t.Errorf("DELETE: %d", status)
	}
}

func TestPushTestOfAnAndroidDevice(t *testing.T) {
	tests := []struct {
		name   string
		spoil  func(*httpServer, *fcmsim.Sim)
		req    api.PushRequest
		failed string // the stage; "" for none
		has    []string
	}{
		{name: "it rings", req: api.PushRequest{User: "alice", VoIP: true}, has: []string{"FCM accepted the push (message ", "HTTP/2", "project " + androidProject, "Google signed sender@example.iam.gserviceaccount.com in, for 1h0m0s"}},
		{name: "nothing quiet", req: api.PushRequest{User: "alice"}, failed: "push", has: []string{"no quiet test", "--voip", "rings", "Skipped:true"}},
		{name: "a token", req: api.PushRequest{Token: androidToken, App: androidProject, VoIP: true}, has: []string{"FCM accepted"}},
		{name: "a token, quiet", req: api.PushRequest{Token: androidToken, App: androidProject}, failed: "push", has: []string{"no quiet test", "Skipped:true"}},
		{name: "other project", req: api.PushRequest{Token: androidToken, App: "other-project"}, failed: "configuration", has: []string{androidProject + " (fcm)", DevBundle + " (team "}},
		{name: "removed", spoil: func(_ *httpServer, sim *fcmsim.Sim) { sim.Refuse(androidToken, "UNREGISTERED") },
			req: api.PushRequest{User: "alice", VoIP: true}, failed: "push", has: []string{"UNREGISTERED", "answered in ", "install it again"}},
		{name: "no account", spoil: func(s *httpServer, _ *fcmsim.Sim) { s.dev.Config.Push.Apps[1].ServiceAccountFile += ".gone" },
			req: api.PushRequest{User: "alice"}, failed: "configuration", has: []string{"no such file", "service_account_file"}},
		{name: "unreachable", spoil: func(s *httpServer, _ *fcmsim.Sim) { s.dev.Config.Push.FCM.URL = "https://127.0.0.1:1" },
			req: api.PushRequest{User: "alice"}, failed: "network", has: []string{"refused", "firewall"}},
		{name: "a stranger's certificate", spoil: func(s *httpServer, _ *fcmsim.Sim) { s.dev.Config.Push.FCM.CAFile = "" },
			req: api.PushRequest{User: "alice"}, failed: "network", has: []string{"push.fcm.ca_file"}},
		{name: "revoked since", spoil: func(_ *httpServer, sim *fcmsim.Sim) {
			signedIn(t, sim)
			sim.Fail(fcmsim.Fault{SignIn: true, Status: 400, Reason: "invalid_grant"})
		}, req: api.PushRequest{User: "alice"}, failed: "access token", has: []string{"invalid_grant", "Google Cloud console", "Reason:no credential"}},
		{name: "no answer from the token service", spoil: func(_ *httpServer, sim *fcmsim.Sim) {
			signedIn(t, sim)
			sim.Fail(fcmsim.Fault{SignIn: true, Status: 503})
		}, req: api.PushRequest{User: "alice", VoIP: true}, failed: "access token", has: []string{"HTTP 503", "oauth2.googleapis.com"}},
		{name: "another account since", spoil: func(s *httpServer, _ *fcmsim.Sim) { otherAccount(t, s.dev.Config.Push.Apps[1].ServiceAccountFile) },
			req: api.PushRequest{User: "alice"}, failed: "access token", has: []string{"other@example.com", "restart"}},
		{name: "nobody comes", req: api.PushRequest{User: "alice", VoIP: true, Wait: "50ms"}, failed: "register", has: []string{"battery"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, sim := serveAndroid(t)
			if status := s.ask("PUT", devicePath(devPhone), androidAnnouncement(), nil); status != 201 {
				t.Fatal(status)
			}
			if tt.spoil != nil {
				tt.spoil(s, sim)
			}
			var out api.PushOutcome
			if status := s.ask("POST", "/v1/push/test", tt.req, &out); status != 200 || len(out.Reports) != 1 {
				t.Fatalf("%d %+v", status, out)
			}
			text, stages := fmt.Sprintf("%+v", out), out.Reports[0].Stages
			last := stages[len(stages)-1]
			if out.OK != (tt.failed == "") || last.OK != out.OK || tt.failed != "" && (last.Name != tt.failed || last.Cure == "") {
				t.Errorf("%s", text)
			}
			for _, want := range tt.has {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
			if strings.Contains(text, androidToken) || strings.Contains(text, "provider token") || strings.Contains(text, "apns-id") {
				t.Errorf("%s", text)
			}
			sent := slices.ContainsFunc(stages, func(s api.Stage) bool { return s.Name == "push" && s.OK })
			if got := len(sim.Deliveries()) > 0; got != sent {
				t.Errorf("delivered: %t, told: %t", got, sent)
			}
		})
	}
}

// signedIn waits for the server's own sign-in.
func signedIn(t *testing.T, sim *fcmsim.Sim) {
	t.Helper()
	for range 1000 {
		if sim.SignIns() > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the server does not sign in")
}

// otherAccount puts another account's key into a file.
func otherAccount(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, bytes.Replace(text, []byte("sender@example.iam.gserviceaccount.com"), []byte("other@example.com"), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An Android device beside an iPhone does not make a quiet test fail, and gets
// nothing.
func TestQuietTestOfBoth(t *testing.T) {
	s, sim := serveAndroid(t)
	phone := s.dev.APNs.NewDevice("phone")
	s.ask("PUT", devicePath(devPhone), announcement(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle)), nil)
	s.ask("PUT", devicePath(strings.Replace(devPhone, "0001", "0002", 1)), androidAnnouncement(), nil)
	var out api.PushOutcome
	s.ask("POST", "/v1/push/test", api.PushRequest{User: "alice"}, &out)
	if len(out.Reports) != 2 || !out.OK || out.Reports[0].Skipped == out.Reports[1].Skipped || out.Reports[0].OK == out.Reports[1].OK || len(sim.Deliveries()) != 0 {
		t.Errorf("%+v", out)
	}
}
