package apnssim_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sideshow/apns2/certificate"

	"wakebridge/push/apnssim"
)

func (b *bench) remote(url string) *apnssim.Client {
	b.t.Helper()
	c, err := apnssim.NewClient(url, nil)
	must(b.t, err)
	b.t.Cleanup(c.Close)
	return c
}

// TestClient is a phone in another process.
func TestClient(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	phone := b.remote(admin(t, b).URL + "/")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	status, err := phone.AddDevice(ctx, "their phone", apnssim.Production)
	must(t, err)
	if !status.Online || status.Name != "their phone" {
		t.Errorf("device %+v", status)
	}
	b.voip, err = phone.Register(ctx, "their phone", bundle, apnssim.VoIP)
	must(t, err)
	sender := b.client(apnssim.Production)
	b.push(sender, nil)
	must(t, phone.Online(ctx, "their phone", false))
	b.push(sender, b.expiring(time.Hour, `{"n":2}`))
	enough := errors.New("enough")
	got := make(chan apnssim.Delivery, 8)
	ended := make(chan error, 1)
	go func() {
		ended <- phone.Deliveries(ctx, "their phone", 0, func(d apnssim.Delivery) error {
			got <- d
			if d.Seq == 2 {
				return enough
			}
			return nil
		})
	}()
	if d := <-got; d.Seq != 1 || string(d.Payload) != `{"aps":{},"uuid":"1"}` {
		t.Errorf("first %+v", d)
	}
	must(t, phone.Online(ctx, "their phone", true))
	if d := <-got; d.Seq != 2 || string(d.Payload) != `{"n":2}` || d.DeliveredAt.IsZero() {
		t.Errorf("second %+v", d)
	}
	if err := <-ended; !errors.Is(err, enough) {
		t.Errorf("ended with %v", err)
	}
	must(t, phone.Reinstall(ctx, "their phone", bundle))
	if res := b.push(sender, nil); res.Reason != "Unregistered" {
		t.Errorf("after the reinstallation: %+v", res)
	}
}

func TestClientErrors(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	for _, base := range []string{"", "127.0.0.1:1", "ftp://x", "http://%"} {
		if _, err := apnssim.NewClient(base, nil); err == nil {
			t.Errorf("base %q is accepted", base)
		}
	}
	phone := b.remote(admin(t, b).URL)
	err := phone.Deliveries(t.Context(), "nobody", 0, func(apnssim.Delivery) error { return nil })
	if !errors.Is(err, apnssim.ErrRemote) || !strings.Contains(err.Error(), "no such device") {
		t.Errorf("unknown device: %v", err)
	}
	if _, err := phone.AddDevice(t.Context(), "x", "moon"); !errors.Is(err, apnssim.ErrRemote) {
		t.Errorf("bad environment: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := phone.Deliveries(ctx, "iphone", 0, func(apnssim.Delivery) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestClientTakesUpABrokenStream lets the connection end after each delivery.
func TestClientTakesUpABrokenStream(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if want := "after=" + string('0'+rune(n-1)); r.URL.RawQuery != want {
			t.Errorf("request %d: %s, want %s", n, r.URL.RawQuery, want)
		}
		if err := json.NewEncoder(w).Encode(apnssim.Delivery{Seq: uint64(n), Payload: json.RawMessage(`{}`)}); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	enough := errors.New("enough")
	err := b.remote(server.URL).Deliveries(t.Context(), "iphone", 0, func(d apnssim.Delivery) error {
		if d.Seq == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || asked.Load() != 3 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

func TestAdminStreamsEndWithTheSimulator(t *testing.T) {
	for _, path := range []string{"/v1/devices/iphone/stream", "/v1/journal"} {
		t.Run(path, func(t *testing.T) {
			b := newBench(t, apnssim.Config{})
			s := admin(t, b)
			resp, err := s.Client().Get(s.URL + path)
			must(t, err)
			defer resp.Body.Close()
			b.push(b.client(apnssim.Production), nil)
			var first struct{ Seq uint64 }
			dec := json.NewDecoder(resp.Body)
			must(t, dec.Decode(&first))
			if first.Seq != 1 {
				t.Errorf("first %+v", first)
			}
			must(t, b.Close())
			for err == nil {
				err = dec.Decode(&first)
			}
			if err.Error() != "EOF" {
				t.Errorf("the stream ended with %v", err)
			}
		})
	}
}

func TestAdminCredentials(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	s := admin(t, b)
	var key struct{ P8 string }
	if status := call(t, s, "POST", "/v1/keys", `{"team_id":"`+team+`","key_id":"SANDBOXKEY","environment":"sandbox","topics":["`+bundle+`"]}`, &key); status != 200 {
		t.Fatalf("status %d", status)
	}
	der, err := x509.MarshalPKIXPublicKey(&b.key.PublicKey)
	must(t, err)
	text, err := json.Marshal(map[string]any{
		"team_id": team, "key_id": keyID, "environment": "sandbox",
		"public_key": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	})
	must(t, err)
	if status := call(t, s, "POST", "/v1/keys", string(text), nil); status != 204 {
		t.Fatalf("own key: %d", status)
	}
	c := b.client(apnssim.Production)
	if res := b.push(c, nil); res.Reason != "BadEnvironmentKeyInToken" {
		t.Errorf("own key for the sandbox: %+v", res)
	}
	var cert struct {
		PEM string
		P12 []byte
	}
	if status := call(t, s, "POST", "/v1/certificates", `{"team_id":"`+team+`","bundle":"`+bundle+`","kind":"voip","environment":"production","password":"x"}`, &cert); status != 200 {
		t.Fatalf("status %d", status)
	}
	fromP12, err := certificate.FromP12Bytes(cert.P12, "x")
	must(t, err)
	if res := b.certPush(b.certClient(fromP12), apnssim.Production, nil); res.status != 200 {
		t.Errorf("certificate: %+v", res)
	}
	if res := b.certPush(b.certClient(fromP12), apnssim.Sandbox, nil); res.Reason != "BadCertificateEnvironment" {
		t.Errorf("certificate in the sandbox: %+v", res)
	}
	if !strings.Contains(cert.PEM, "PRIVATE KEY") {
		t.Errorf("PEM %q", cert.PEM)
	}
	if status := call(t, s, "DELETE", "/v1/apps/"+bundle, "", nil); status != 204 {
		t.Errorf("delete: %d", status)
	}
	if res := b.certPush(b.certClient(fromP12), apnssim.Production, nil); res.Reason != "BadTopic" {
		t.Errorf("removed app: %+v", res)
	}
	for _, body := range []string{
		`{"team_id":"` + team + `","key_id":"K","public_key":"no PEM"}`,
		`{"team_id":"` + team + `","key_id":"K","public_key":"-----BEGIN X-----\nAAAA\n-----END X-----\n"}`,
	} {
		if status := call(t, s, "POST", "/v1/keys", body, nil); status != 400 {
			t.Errorf("%s: %d", body, status)
		}
	}
	for _, body := range []string{`{"kind":"voip"}`, `{"team_id":"` + team + `","bundle":"` + bundle + `","kind":"voip","environment":"moon"}`} {
		if status := call(t, s, "POST", "/v1/certificates", body, nil); status != 400 {
			t.Errorf("%s: %d", body, status)
		}
	}
}

func TestAdminNetworkAndRemovedDevice(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	s, c := admin(t, b), b.client(apnssim.Production)
	if status := call(t, s, "PUT", "/v1/network", `{"lose":1,"late_by":"3s"}`, nil); status != 204 {
		t.Fatalf("status %d", status)
	}
	var n struct {
		Lose      float64
		LateBy    string `json:"late_by"`
		ReorderBy string `json:"reorder_by"`
	}
	call(t, s, "GET", "/v1/network", "", &n)
	if n.Lose != 1 || n.LateBy != "3s" || n.ReorderBy != "2s" {
		t.Errorf("network %+v", n)
	}
	b.push(c, nil)
	if e := b.Requests(apnssim.Filter{}); e[0].Delivery != apnssim.Lost {
		t.Errorf("outcome %q", e[0].Delivery)
	}
	if status := call(t, s, "PUT", "/v1/network", `{"lose":2}`, nil); status != 400 {
		t.Errorf("lose 2: %d", status)
	}
	if status := call(t, s, "DELETE", "/v1/devices/iphone", "", nil); status != 204 {
		t.Errorf("delete: %d", status)
	}
	if res := b.push(c, nil); res.status != 410 {
		t.Errorf("removed device: %+v", res)
	}
	if status := call(t, s, "DELETE", "/v1/devices/iphone", "", nil); status != 404 {
		t.Errorf("delete again: %d", status)
	}
}

func TestParseTrouble(t *testing.T) {
	got, err := apnssim.ParseTrouble([]byte(`{"faults":[
		{"match":{"nth":3},"action":{"fault":"goaway","reason":"Shutdown","last_stream":5,"grace":"1s","code":2}},
		{"action":{"fault":"idle_close","latency":"1m"}}], "network":{"reorder":0.5,"reorder_by":"1s"}}`))
	must(t, err)
	if len(got.Rules) != 2 || got.Rules[0].Match.Nth != 3 || got.Rules[0].Action.LastStream != 5 || got.Rules[0].Action.Grace != time.Second ||
		got.Rules[0].Action.Code != 2 || got.Rules[1].Action.Latency != time.Minute || got.Network.Reorder != 0.5 || got.Network.ReorderBy != time.Second {
		t.Errorf("%+v", got)
	}
	for text, want := range map[string]error{
		`{"faults":[{"action":{"fault":"explode"}}]}`:                                         apnssim.ErrBadRule,
		`{"faults":[{"action":{"fault":"idle_close"}}]}`:                                      apnssim.ErrBadRule,
		`{"faults":[{"match":{"topic":"x"},"action":{"fault":"idle_close","latency":"1s"}}]}`: apnssim.ErrBadRule,
		`{"fault":[]}`:            apnssim.ErrBadRule,
		`nothing`:                 apnssim.ErrBadRule,
		`{"network":{"lose":-1}}`: apnssim.ErrBadNetwork,
	} {
		if _, err := apnssim.ParseTrouble([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
