package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/cmd/internal/api"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

const devPhone = "urn:uuid:5f0f5b1c-0000-4000-8000-000000000001"

// httpServer is a server and its simulated APNs.
type httpServer struct {
	*Daemon
	t   *testing.T
	dev *Development
	log *syncLog
}

func serveHTTP(t *testing.T, change func(*config.Config)) *httpServer {
	t.Helper()
	dev := development(t)
	if change != nil {
		change(dev.Config)
	}
	return serveDevelopment(t, dev)
}

func serveDevelopment(t *testing.T, dev *Development) *httpServer {
	t.Helper()
	log := &syncLog{}
	d, err := New(t.Context(), dev.Config, Options{Log: log.logger(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := &httpServer{Daemon: d, t: t, dev: dev, log: log}
	t.Cleanup(func() { stop(d) })
	return s
}

// ask sends a request and reads the answer into what out points to, unless it is
// nil.
func (s *httpServer) ask(method, path string, body, out any) int {
	s.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.HTTPAddr().String()+path, strings.NewReader(string(text)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	if out != nil {
		reflect.ValueOf(out).Elem().SetZero() // what the answer omits must not stay from the last one
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			s.t.Fatal(err)
		}
	}
	return res.StatusCode
}

func announcement(voip, alert string) api.Announcement {
	return api.Announcement{Provider: "apns", BundleID: DevBundle, TeamID: DevTeam, VoIPToken: voip, AlertToken: alert}
}

func devicePath(instance string) string { return "/v1/users/alice/devices/" + instance }

func TestDevicesOverHTTP(t *testing.T) {
	s := serveHTTP(t, nil)
	voip, alert := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	var d api.Device
	if status := s.ask("PUT", devicePath(devPhone), announcement(voip, alert), &d); status != 201 || !d.Wakeable || d.WhyNot != "" || d.Connected ||
		d.Instance != devPhone || d.User != "alice@"+DevDomain || d.Push.VoIPToken.Value != "…abab" || d.Push.VoIPToken.Source != "http" {
		t.Errorf("%d %+v", status, d)
	}
	stored := s.devicesOnDisk()
	if len(stored) != 1 || stored[0].Push.VoIP.Value != voip || stored[0].Push.Alert.Value != alert {
		t.Errorf("after the 201 the disk has: %+v", stored)
	}
	first := s.memory.Devices(callee)[0].Push
	if status := s.ask("PUT", devicePath(strings.ToUpper(devPhone)), announcement(voip, alert), &d); status != 200 || len(s.memory.Devices(callee)) != 1 {
		t.Errorf("again: %d, %d devices", status, len(s.memory.Devices(callee)))
	}
	if again := s.memory.Devices(callee)[0].Push; again.VoIP.Value != first.VoIP.Value || again.Alert.Value != first.Alert.Value {
		t.Errorf("again: %+v", again)
	}
	if status := s.ask("PUT", devicePath(devPhone), announcement(voip, ""), &d); status != 200 || d.Push.AlertToken != nil || d.Push.VoIPToken == nil {
		t.Errorf("without the alert token: %d %+v", status, d.Push)
	}
	if status := s.ask("DELETE", devicePath(devPhone), nil, nil); status != 204 || len(s.memory.Devices(callee)) != 0 || len(s.devicesOnDisk()) != 0 {
		t.Errorf("DELETE: %d, %+v", status, s.memory.Devices(callee))
	}
	if status := s.ask("GET", devicePath(devPhone), nil, nil); status != 404 {
		t.Errorf("GET after DELETE: %d", status)
	}
	if status := s.ask("PUT", devicePath(devPhone), announcement(voip, ""), &d); status != 201 || !d.Wakeable {
		t.Errorf("PUT after DELETE: %d %+v", status, d)
	}
	if text := s.log.String(); strings.Contains(text, voip) || strings.Contains(text, alert) || !strings.Contains(text, "…abab") {
		t.Errorf("log: %s", text)
	}
}

// devicesOnDisk is what a server that starts now would know.
func (s *httpServer) devicesOnDisk() []location.Device {
	s.t.Helper()
	state, err := s.store.Load(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return state.Devices
}

// A device that VoIP pushes do not wake any more is shown as such, until it
// registers.
func TestSuspectedIsShown(t *testing.T) {
	s := serveHTTP(t, nil)
	s.ask("PUT", devicePath(devPhone), announcement(strings.Repeat("ab", 32), strings.Repeat("cd", 32)), nil)
	var d api.Device
	key, at := s.memory.Devices(callee)[0].Key, time.Now().Truncate(time.Second)
	for pushes := 1; pushes <= 3; pushes++ {
		report := location.PushReport{AOR: callee, Key: key, Kind: location.VoIP, Accepted: true, Sent: at, At: at}
		if _, err := s.registrar.Do(t.Context(), report); err != nil {
			t.Fatal(err)
		}
		s.ask("GET", devicePath(devPhone), nil, &d)
		due := map[int]time.Time{2: at.Add(30 * time.Second), 3: at.Add(time.Minute)}[pushes]
		if h := d.Health; h.Unanswered != pushes || h.Suspected != (pushes > 1) || !h.NextVoIP.Equal(due) {
			t.Errorf("after %d pushes: %+v, want next %s", pushes, h, due)
		}
	}
	register := location.Upsert{AOR: callee, Binding: location.Binding{Contact: "<sip:alice@10.0.0.3>", Instance: devPhone, Registered: time.Now(), Expires: time.Now().Add(time.Hour)}}
	if _, err := s.registrar.Do(t.Context(), register); err != nil {
		t.Fatal(err)
	}
	if s.ask("GET", devicePath(devPhone), nil, &d); d.Health.Suspected || !d.Health.NextVoIP.IsZero() || d.Health.Accepted != 3 {
		t.Errorf("registered: %+v", d.Health)
	}
}

// A device that is registered stays when it is logged out, and says why nobody
// wakes it; its tokens by SIP go as well.
func TestDeleteOfARegisteredDevice(t *testing.T) {
	s := serveHTTP(t, nil)
	now := time.Now()
	register := location.Upsert{AOR: callee, Announced: location.Tokens,
		Binding: location.Binding{Contact: "<sip:alice@10.0.0.3;pn-prid=" + strings.Repeat("ef", 32) + ">", Instance: devPhone, Registered: now, Expires: now.Add(time.Hour)},
		Push:    location.PushInfo{Provider: "apns", BundleID: DevBundle, Alert: location.Token{Value: strings.Repeat("ef", 32), Kind: location.Alert}}}
	if _, err := s.registrar.Do(t.Context(), register); err != nil {
		t.Fatal(err)
	}
	var d api.Device
	if status := s.ask("PUT", devicePath(devPhone), announcement(strings.Repeat("ab", 32), ""), &d); status != 200 || d.Push.AlertToken.Source != "sip" {
		t.Errorf("PUT: %d %+v", status, d)
	}
	if len(d.Bindings) != 1 || strings.Contains(d.Bindings[0].Contact, "efefefef") {
		t.Errorf("bindings: %+v", d.Bindings)
	}
	if status := s.ask("DELETE", devicePath(devPhone), nil, nil); status != 204 {
		t.Errorf("DELETE: %d", status)
	}
	if status := s.ask("GET", devicePath(devPhone), nil, &d); status != 200 || d.Wakeable || !strings.Contains(d.WhyNot, "logged out") || d.LoggedOut.IsZero() {
		t.Errorf("after DELETE: %d %+v", status, d)
	}
	if p := s.memory.Devices(callee)[0].Push; p.HasToken() {
		t.Errorf("tokens stay: %+v", p)
	}
	register.Announced = location.NoTokens
	if _, err := s.registrar.Do(t.Context(), register); err != nil {
		t.Fatal(err)
	}
	if s.ask("PUT", devicePath(devPhone), announcement(strings.Repeat("ab", 32), ""), &d); !d.Wakeable {
		t.Errorf("registered and announced again: %+v", d)
	}
}

func TestUsersOfTheAPI(t *testing.T) {
	s := serveHTTP(t, func(c *config.Config) {
		other := c.Domains[0]
		other.Name, other.Users = "Other.test", []config.User{{Name: "alice", Password: config.NewSecret("secret")}}
		c.Domains = append(c.Domains, other)
	})
	v := newDevices(s.Daemon)
	for name, want := range map[string][]string{
		"alice": {"alice@other.test", "alice@" + DevDomain}, "bob": {"bob@" + DevDomain}, "alice@OTHER.test": {"alice@other.test"},
		"bob@other.test": nil, "carol": nil, "": nil, "@": nil,
	} {
		if got := v.Users(name); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
	if status := s.ask("GET", "/v1/users/alice/devices", nil, nil); status != 409 {
		t.Errorf("which alice: %d", status)
	}
	if status := s.ask("PUT", "/v1/users/alice@other.test/devices/"+devPhone, announcement("abab", ""), nil); status != 201 ||
		len(s.memory.Devices(sipua.NewAOR("alice", "other.test"))) != 1 {
		t.Errorf("that one: %d", status)
	}
}

// Two backends at once make one device, and only one of them made it.
func TestAnnouncementsAtOnce(t *testing.T) {
	s := serveHTTP(t, nil)
	v := newDevices(s.Daemon)
	var running sync.WaitGroup
	made := make(chan bool, 8)
	for i := range cap(made) {
		running.Go(func() {
			_, created, err := v.Announce(context.Background(), "alice@"+DevDomain, devPhone, announcement(fmt.Sprintf("abcd%02d", i), ""))
			if err != nil {
				t.Error(err)
			}
			made <- created
		})
	}
	running.Wait()
	close(made)
	n := 0
	for created := range made {
		if created {
			n++
		}
	}
	if n != 1 || len(s.memory.Devices(callee)) != 1 {
		t.Errorf("made %d times, %d devices", n, len(s.memory.Devices(callee)))
	}
}

// A server that has stopped its registrar stores nothing and says so.
func TestNothingIsStoredAfterTheEnd(t *testing.T) {
	s := serveHTTP(t, nil)
	s.registrar.Close()
	if status := s.ask("PUT", devicePath(devPhone), announcement("abab", ""), nil); status != 503 {
		t.Errorf("%d", status)
	}
}

func TestPushTestStages(t *testing.T) {
	tests := []struct {
		name   string
		change func(*config.Config)
		fault  *apnssim.Action
		spoil  func(d *Development)
		req    api.PushRequest
		failed string // the stage; "" for none
		has    []string
	}{
		{name: "an alert", req: api.PushRequest{User: "alice"}, has: []string{"accepted", "answered by production", "HTTP/2", "WAKEBRIDGE"}},
		{name: "a VoIP push", req: api.PushRequest{User: "alice", VoIP: true}, has: []string{"accepted"}},
		{name: "a refusal in words", req: api.PushRequest{User: "alice"}, fault: &apnssim.Action{Fault: apnssim.Respond, Status: 400, Reason: "TopicDisallowed"}, failed: "push",
			has: []string{"TopicDisallowed", "belongs to the team"}},
		{name: "the key is gone", req: api.PushRequest{User: "alice"}, spoil: func(d *Development) { d.Config.Push.Apps[0].Keys[0].File += ".gone" },
			failed: "configuration", has: []string{"no such file", "0600"}},
		{name: "APNs cannot be reached", req: api.PushRequest{User: "alice"}, spoil: func(d *Development) { d.Config.Push.APNs.Production = "https://127.0.0.1:1" },
			failed: "network", has: []string{"refused", "firewall"}},
		{name: "a stranger's certificate", req: api.PushRequest{User: "alice"}, spoil: func(d *Development) { d.Config.Push.APNs.CAFile = "" },
			failed: "network", has: []string{"TLS with 127.0.0.1", "ca_file"}},
		{name: "other app", req: api.PushRequest{Token: strings.Repeat("ab", 32), App: "com.example.other"}, failed: "configuration", has: []string{"com.example.other", DevBundle}},
		{name: "unknown token", req: api.PushRequest{Token: strings.Repeat("ab", 32), App: DevBundle}, failed: "push", has: []string{"BadDeviceToken", "answered by sandbox in ", "environment"}},
		{name: "no token", req: api.PushRequest{Token: "xyz", App: DevBundle}, failed: "push", has: []string{"hexadecimal"}},
		{name: "nobody comes", req: api.PushRequest{User: "alice", Wait: "50ms"}, failed: "register", has: []string{"no REGISTER within 50ms", "tap it"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serveHTTP(t, tt.change)
			phone := s.dev.APNs.NewDevice("phone")
			if err := phone.UseEnvironment(apnssim.Production); err != nil {
				t.Fatal(err)
			}
			voip, alert := phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle)
			if status := s.ask("PUT", devicePath(devPhone), announcement(voip, alert), nil); status != 201 {
				t.Fatal(status)
			}
			if tt.fault != nil {
				if _, err := s.dev.APNs.AddFault(apnssim.Rule{Action: *tt.fault}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.spoil != nil {
				tt.spoil(s.dev)
			}
			var out api.PushOutcome
			if status := s.ask("POST", "/v1/push/test", tt.req, &out); status != 200 || len(out.Reports) != 1 {
				t.Fatalf("%d %+v", status, out)
			}
			text := fmt.Sprintf("%+v", out)
			r := out.Reports[0]
			last := r.Stages[len(r.Stages)-1]
			if out.OK != (tt.failed == "") || r.OK != out.OK || last.OK != out.OK || tt.failed != "" && (last.Name != tt.failed || last.Cure == "") {
				t.Errorf("%s", text)
			}
			for _, want := range tt.has {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
			if strings.Contains(text, voip) || strings.Contains(text, alert) || strings.Contains(s.log.String(), alert) {
				t.Errorf("a token is shown: %s", text)
			}
		})
	}
}

// What goes over the wire: an alert that nobody takes for a call, or a call whose
// fate is known before the push leaves.
func TestPushTestOnTheWire(t *testing.T) {
	s := serveHTTP(t, nil)
	phone := s.dev.APNs.NewDevice("phone")
	if err := phone.UseEnvironment(apnssim.Sandbox); err != nil {
		t.Fatal(err)
	}
	s.ask("PUT", devicePath(devPhone), announcement(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle)), nil)
	for _, voip := range []bool{false, true} {
		before := len(s.dev.APNs.Requests(apnssim.Filter{}))
		var out api.PushOutcome
		s.ask("POST", "/v1/push/test", api.PushRequest{User: "alice", Instance: devPhone, VoIP: voip}, &out)
		sent := s.dev.APNs.Requests(apnssim.Filter{})[before:]
		if !out.OK || len(sent) != 2 || !strings.Contains(fmt.Sprint(out), "answered by sandbox: production did not know the token") {
			t.Fatalf("%+v, %d requests", out, len(sent))
		}
		var payload struct {
			Type, UUID string
			APS        struct{ Alert struct{ Title string } }
			SentAt     int64 `json:"sent_at"`
			ExpiresAt  int64 `json:"expires_at"`
		}
		if err := json.Unmarshal(sent[1].Payload, &payload); err != nil {
			t.Fatal(err)
		}
		d := s.memory.Devices(callee)[0]
		fates := s.memory.Fates(d.Ref())
		kind := location.Alert
		if voip {
			kind = location.VoIP
			if payload.Type != "call" || payload.ExpiresAt-payload.SentAt != (10*time.Second).Milliseconds() || len(fates) != 1 || fates[0].UUID != payload.UUID ||
				fates[0].Cause != 487 || fates[0].KeepUntil.IsZero() || payload.UUID != out.Reports[0].UUID {
				t.Errorf("%s, fates %+v", sent[1].Payload, fates)
			}
		} else if payload.Type != "test" || payload.APS.Alert.Title != "Wakebridge test" || len(fates) != 0 || strings.Contains(string(sent[1].Payload), "Incoming") {
			t.Errorf("%s, fates %+v", sent[1].Payload, fates)
		}
		// The registrar's loop writes it down, a moment after the answer.
		tick := time.NewTicker(time.Millisecond)
		for deadline := time.Now().Add(5 * time.Second); s.memory.Devices(callee)[0].Push.EnvironmentOf(kind) != location.Sandbox; <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("not learned: %+v", s.memory.Devices(callee)[0].Push)
			}
		}
		tick.Stop()
	}
}
