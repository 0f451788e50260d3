package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

const announcedPhone = "urn:uuid:5f0f5b1c-0000-4000-8000-000000000001"

// overHTTP sends a request about alice's device.
func (s *server) overHTTP(t *testing.T, method, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.HTTPAddr().String()+"/v1/users/alice/devices/"+announcedPhone, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// A SIP stack that knows nothing of push, whose backend does: it registers without
// any pn-*, with its instance or without, before its backend speaks or after; it
// sleeps; a call wakes it; after DELETE no call does.
func TestAnnouncedOverHTTP(t *testing.T) {
	for _, tt := range []struct {
		name            string
		instance, first bool // it sends its instance; it registers first
	}{
		{"announced, then registered by instance", true, false},
		{"announced, then registered as the only device", false, false},
		{"registered by instance, then announced", true, true},
		{"registered as the only device, then announced", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, port := pbx(t, 440)
			s := start(t, trunkAt(port))
			a := app(t, 620)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			device := s.apns.NewDevice("iphone")
			if err := device.UseEnvironment(apnssim.Production); err != nil {
				t.Fatal(err)
			}
			announce := func() {
				body := `{"provider":"apns","bundle_id":"` + daemon.DevBundle + `","voip_token":"` + device.RegisterVoIP(daemon.DevBundle) + `"}`
				if status := s.overHTTP(t, http.MethodPut, body); status != 201 && status != 200 {
					t.Fatalf("PUT: %d", status)
				}
			}
			acc := account(s, "", "")
			if !tt.instance {
				acc.Contact = func() (uri, params sip.HeaderParams) { return nil, nil }
			}
			if !tt.first {
				announce()
			}
			reg, registered, err := a.RegisterAndWait(ctx, acc)
			if err != nil {
				t.Fatal(err)
			}
			if tt.first {
				announce()
			}
			reg.Close()
			a.Disconnect(registered.Flow)
			alice := sipua.NewAOR("alice", daemon.DevDomain)
			asleep := func(wakeable bool) {
				t.Helper()
				wait(t, 5*time.Second, "the phone to sleep", func() (bool, string) {
					d := s.Memory().Devices(alice)
					if len(d) != 1 {
						t.Fatalf("%d devices: %v", len(d), d)
					}
					_, awake := d[0].Flow()
					return !awake && d[0].Wakeable == wakeable, "it is awake, or wakeable when it should not be, or the reverse"
				})
			}
			asleep(true)
			out := dial(t, s, p, "201")
			select {
			case <-device.Deliveries():
			case <-ctx.Done():
				t.Fatal("no push came")
			}
			reg, registered, err = a.RegisterAndWait(ctx, acc)
			if err != nil {
				t.Fatal(err)
			}
			in, err := a.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := in.Answer(); err != nil {
				t.Fatal(err)
			}
			hears(t, "the caller", out, 620)
			if err := out.Hangup(); err != nil {
				t.Fatal(err)
			}
			if _, err := in.Ended(ctx); err != nil {
				t.Fatal(err)
			}
			if r := s.record(t, 0); r.Result != bridge.Answered || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 || len(s.Memory().Devices(alice)) != 1 {
				t.Errorf("record: %+v, devices %v", r, s.Memory().Devices(alice))
			}

			if status := s.overHTTP(t, http.MethodDelete, ""); status != 204 {
				t.Errorf("DELETE: %d", status)
			}
			reg.Close()
			a.Disconnect(registered.Flow)
			asleep(false)
			pushes := len(s.apns.Requests(apnssim.Filter{}))
			out = dial(t, s, p, "201")
			if e, err := out.Ended(ctx); err != nil || e.Status != 480 {
				t.Errorf("a call for who logged out: %+v %v", e, err)
			}
			if n := len(s.apns.Requests(apnssim.Filter{})); n != pushes {
				t.Errorf("%d pushes after the log-out", n-pushes)
			}
		})
	}
}

// A test push by VoIP wakes the phone, which hears in its REGISTER's 200 that there
// is no call.
func TestPushTestWakes(t *testing.T) {
	s := start(t, nil)
	a := app(t, 620)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	device := s.apns.NewDevice("iphone")
	if err := device.UseEnvironment(apnssim.Production); err != nil {
		t.Fatal(err)
	}
	acc := account(s, device.RegisterVoIP(daemon.DevBundle), device.RegisterAlert(daemon.DevBundle))
	contact := acc.Contact
	acc.Contact = func() (uri, params sip.HeaderParams) {
		uri, params = contact()
		return uri, append(params, sip.HeaderKV{K: "+x-wake-fate"})
	}
	reg, registered, err := a.RegisterAndWait(ctx, acc)
	if err != nil {
		t.Fatal(err)
	}
	reg.Close()
	a.Disconnect(registered.Flow)
	woken := make(chan softphone.Registered, 1)
	go func() { // awaited below, by woken
		defer close(woken)
		select {
		case <-device.Deliveries():
			if _, ok, err := a.RegisterAndWait(ctx, acc); err == nil {
				woken <- ok
			}
		case <-ctx.Done():
		}
	}()
	out, err := api.Client{Server: "http://" + s.HTTPAddr().String()}.TestPush(ctx, api.PushRequest{User: "alice", VoIP: true, Wait: "10s"})
	if err != nil || !out.OK {
		t.Fatalf("%+v %v", out, err)
	}
	s.promise.Tests(out.Reports[0].UUID)
	res, ok := <-woken
	if !ok {
		t.Fatal("it was not woken")
	}
	if ended := res.Response.GetHeader("X-Call-Ended"); ended == nil || !strings.HasPrefix(ended.Value(), out.Reports[0].UUID+";cause=487") {
		t.Errorf("X-Call-Ended: %v; the push had %s", ended, out.Reports[0].UUID)
	}
	last := out.Reports[0].Stages[len(out.Reports[0].Stages)-1]
	if last.Name != "register" || !strings.Contains(last.Text, " ms after the push") {
		t.Errorf("last stage: %+v", last)
	}
}
