package apnssim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wakebridge/push/apnssim"
)

// call sends a request to the admin handler and decodes the answer.
func call(t *testing.T, server *httptest.Server, method, path, body string, into any) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	must(t, err)
	resp, err := server.Client().Do(r)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatalf("%s %s: %v in %q", method, path, err, text)
		}
	}
	return resp.StatusCode
}

func admin(t *testing.T, b *bench) *httptest.Server {
	server := httptest.NewServer(b.AdminHandler())
	t.Cleanup(server.Close)
	return server
}

// TestAdminPhoneInAnotherProcess does all that such a phone and its test need.
func TestAdminPhoneInAnotherProcess(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	s := admin(t, b)
	ok := func(status, want int) {
		t.Helper()
		if status != want {
			t.Fatalf("status %d, want %d", status, want)
		}
	}
	ok(call(t, s, "POST", "/v1/teams", `{"team_id":"REMOTE1234","bundles":["com.example.remote"]}`, nil), 204)
	var key struct{ P8 string }
	ok(call(t, s, "POST", "/v1/keys", `{"team_id":"REMOTE1234","key_id":"REMOTEKEY1"}`, &key), 200)
	if !strings.Contains(key.P8, "PRIVATE KEY") {
		t.Errorf("key %q", key.P8)
	}
	var device apnssim.DeviceStatus
	ok(call(t, s, "POST", "/v1/devices", `{"name":"remote","environment":"production"}`, &device), 200)
	if !device.Online || device.Environment != apnssim.Production {
		t.Errorf("device %+v", device)
	}
	var token struct{ Token string }
	ok(call(t, s, "POST", "/v1/devices/remote/tokens", `{"bundle":"`+bundle+`","kind":"voip"}`, &token), 200)
	b.voip = token.Token

	polled := make(chan []apnssim.Delivery, 1)
	go func() {
		var list []apnssim.Delivery
		call(t, s, "GET", "/v1/devices/remote/deliveries?after=0&wait=10s", "", &list)
		polled <- list
	}()
	c := b.client(apnssim.Production)
	b.push(c, nil)
	list := <-polled
	if len(list) != 1 || list[0].Seq != 1 || string(list[0].Payload) != `{"aps":{},"uuid":"1"}` || list[0].Expiration.Unix() != 0 {
		t.Fatalf("polled %+v", list)
	}
	var empty []apnssim.Delivery
	ok(call(t, s, "GET", "/v1/devices/remote/deliveries?after=1&wait=10ms", "", &empty), 200)
	if len(empty) != 0 {
		t.Errorf("polled again: %+v", empty)
	}

	ok(call(t, s, "POST", "/v1/devices/remote/offline", "", nil), 204)
	b.push(c, nil) // expiration 0
	b.push(c, func(r *http.Request) { r.Header.Del("apns-expiration") })
	ok(call(t, s, "POST", "/v1/devices/remote/online", "", nil), 204)
	list = nil // decoding into it again would keep what is absent now
	ok(call(t, s, "GET", "/v1/devices/remote/deliveries?after=1&wait=10s", "", &list), 200)
	if len(list) != 1 || list[0].Seq != 2 || !list[0].Expiration.IsZero() {
		t.Errorf("after the pause: %+v", list)
	}

	ok(call(t, s, "POST", "/v1/tokens/"+token.Token+"/state", `{"state":"expired"}`, nil), 204)
	if res := b.push(c, nil); res.Reason != "ExpiredToken" {
		t.Errorf("expired: %+v", res)
	}
	ok(call(t, s, "POST", "/v1/devices/remote/reinstall", `{"bundle":"`+bundle+`"}`, nil), 204)
	if res := b.push(c, nil); res.Reason != "Unregistered" {
		t.Errorf("reinstalled: %+v", res)
	}
	device = apnssim.DeviceStatus{}
	ok(call(t, s, "GET", "/v1/devices/remote", "", &device), 200)
	if len(device.Tokens) != 0 || device.Received != 2 {
		t.Errorf("device %+v", device)
	}
	var all []apnssim.DeviceStatus
	ok(call(t, s, "GET", "/v1/devices", "", &all), 200)
	if len(all) != 2 || all[0].Name != "iphone" || len(all[0].Tokens) != 2 {
		t.Errorf("devices %+v", all)
	}
	ok(call(t, s, "DELETE", "/v1/keys/"+keyID, "", nil), 204)
	if res := b.push(c, nil); res.Reason != "InvalidProviderToken" {
		t.Errorf("revoked: %+v", res)
	}
}

func TestAdminFaultsAndJournal(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	s, c := admin(t, b), b.client(apnssim.Production)
	var made struct{ ID int }
	rule := `{"match":{"topic":"` + bundle + `.voip","nth":1,"times":9,"probability":1,"environment":"production"},
		"action":{"fault":"respond","status":410,"reason":"Unregistered","timestamp":"2026-01-02T03:04:05Z"}}`
	if status := call(t, s, "POST", "/v1/faults", rule, &made); status != 200 || made.ID != 1 {
		t.Fatalf("%d, %+v", status, made)
	}
	delay := `{"action":{"fault":"delay","latency":"5ms","jitter":"1ms"}}`
	if status := call(t, s, "POST", "/v1/faults", delay, &made); status != 200 || made.ID != 2 {
		t.Fatalf("%d, %+v", status, made)
	}
	if res := b.push(c, nil); res.status != 410 || res.Timestamp != time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli() {
		t.Errorf("answer %+v", res)
	}
	var rules []struct {
		ID, Hits int
		Match    struct{ Topic string }
		Action   struct{ Fault, Latency, Jitter string }
	}
	call(t, s, "GET", "/v1/faults", "", &rules)
	if len(rules) != 2 || rules[0].Hits != 1 || rules[0].Match.Topic != bundle+".voip" || rules[1].Action.Latency != "5ms" || rules[1].Action.Jitter != "1ms" {
		t.Errorf("rules %+v", rules)
	}
	if status := call(t, s, "DELETE", "/v1/faults/1", "", nil); status != 204 {
		t.Errorf("delete: %d", status)
	}
	if res := b.push(c, nil); res.status != 200 {
		t.Errorf("without the rule: %+v", res)
	}
	if status := call(t, s, "DELETE", "/v1/faults", "", nil); status != 204 || len(b.Faults()) != 0 {
		t.Errorf("clear: %d", status)
	}

	var entries []struct {
		Seq     uint64
		Payload string
		Header  []apnssim.Field
		Verdict apnssim.Verdict
	}
	call(t, s, "GET", "/v1/requests?status=200&after=1&environment=production&token="+b.voip, "", &entries)
	if len(entries) != 1 || entries[0].Seq != 2 || entries[0].Payload != `{"aps":{},"uuid":"1"}` || entries[0].Verdict.Status != 200 {
		t.Fatalf("journal %+v", entries)
	}
	for _, h := range entries[0].Header {
		if h.Name == "authorization" && h.Value != "****" {
			t.Error("the admin handler shows a provider token")
		}
	}
	var status struct {
		Production string
		Stats      apnssim.Stats
	}
	call(t, s, "GET", "/v1/status", "", &status)
	if status.Production != b.URL(apnssim.Production) || status.Stats.Connections != 1 {
		t.Errorf("status %+v", status)
	}
}

func TestAdminProblems(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	s := admin(t, b)
	for _, tc := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/v1/devices/nobody", "", 404},
		{"GET", "/v1/devices/iphone/deliveries?after=x", "", 400},
		{"GET", "/v1/devices/iphone/deliveries?wait=2m", "", 400},
		{"GET", "/v1/devices/iphone/deliveries?wait=-1s", "", 400},
		{"GET", "/v1/requests?status=x", "", 400},
		{"GET", "/v1/requests?after=-1", "", 400},
		{"POST", "/v1/devices", `{"name":""}`, 400},
		{"POST", "/v1/devices", `{"name":"x","environment":"moon"}`, 400},
		{"POST", "/v1/devices", `{"nome":"x"}`, 400},
		{"POST", "/v1/devices", strings.Repeat(" ", 70_000) + `{"name":"x"}`, 400},
		{"POST", "/v1/devices/iphone/tokens", `{"bundle":"x","kind":"smoke"}`, 400},
		{"POST", "/v1/devices/iphone/tokens", `{"bundle":"","kind":"voip"}`, 400},
		{"POST", "/v1/devices/iphone/reinstall", `nothing`, 400},
		{"POST", "/v1/teams", `{"team_id":"short"}`, 400},
		{"POST", "/v1/teams", `{"team_id":"SECOND1234","bundles":["` + bundle + `"]}`, 409},
		{"POST", "/v1/keys", `{"team_id":"SECOND1234","key_id":"` + keyID + `"}`, 409},
		{"POST", "/v1/tokens/00/state", `{"state":"active"}`, 404},
		{"POST", "/v1/tokens/" + b.voip + "/state", `{"state":"asleep"}`, 400},
		{"POST", "/v1/faults", `{"action":{"fault":"explode"}}`, 400},
		{"POST", "/v1/faults", `{"action":{"fault":"delay","latency":"long"}}`, 400},
		{"DELETE", "/v1/faults/7", "", 404},
		{"DELETE", "/v1/faults/x", "", 400},
	} {
		var p struct {
			Status int
			Detail string
		}
		if got := call(t, s, tc.method, tc.path, tc.body, &p); got != tc.status || p.Status != tc.status || p.Detail == "" {
			t.Errorf("%s %s %.60s: %d %+v, want %d", tc.method, tc.path, tc.body, got, p, tc.status)
		}
	}
	resp, err := s.Client().Get(s.URL + "/v1/ca.pem")
	must(t, err)
	defer resp.Body.Close()
	if pem, err := io.ReadAll(resp.Body); err != nil || string(pem) != string(b.CAPEM()) {
		t.Errorf("CA %q, %v", pem, err)
	}
}

func TestAdminPollEndsWithTheSimulator(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	s := admin(t, b)
	polled := make(chan int, 1)
	go func() {
		var list []apnssim.Delivery
		polled <- call(t, s, "GET", "/v1/devices/iphone/deliveries?wait=1m", "", &list)
	}()
	must(t, b.Close())
	select {
	case status := <-polled:
		if status != 200 {
			t.Errorf("status %d", status)
		}
	case <-time.After(10 * time.Second):
		t.Error("the poll goes on")
	}
}
