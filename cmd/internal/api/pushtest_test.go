package api

import (
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPushOrders(t *testing.T) {
	devices := map[string][]Device{"alice@a.example": {{Instance: phone, Key: "k1"}, {Key: "k2"}}}
	tests := []struct {
		name, body string
		status     int
		has        string
		want       PushOrder
	}{
		{"all devices", `{"user":"alice"}`, 200, `"ok":true`, PushOrder{User: "alice@a.example", Devices: []string{"k1", "k2"}}},
		{"one", `{"user":"alice","instance":"` + phone + `","voip":true,"wait":"15s"}`, 200, `"ok":false`,
			PushOrder{User: "alice@a.example", Devices: []string{"k1"}, VoIP: true, Wait: 15 * time.Second}},
		{"a token", `{"token":"` + token + `","app":"com.example.phone","team":"T"}`, 200, `"ok":true`,
			PushOrder{Token: token, App: App{Provider: "apns", BundleID: "com.example.phone", TeamID: "T"}}},
		{"a token of FCM", `{"token":"a:b","app":"example-1","voip":true}`, 200, `"ok":false`,
			PushOrder{Token: "a:b", VoIP: true, App: App{Provider: "fcm", BundleID: "example-1"}}},
		{"nothing", `{}`, 422, "user or a token", PushOrder{}},
		{"both", `{"user":"alice","token":"ab","app":"x"}`, 422, "not both", PushOrder{}},
		{"token without app", `{"token":"ab"}`, 422, "com.example.phone", PushOrder{}},
		{"token with wait", `{"token":"ab","app":"x","wait":"1s"}`, 422, "wait", PushOrder{}},
		{"user with app", `{"user":"alice","app":"x"}`, 422, "go with a token", PushOrder{}},
		{"too long a wait", `{"user":"alice","wait":"61s"}`, 422, "1m0s", PushOrder{}},
		{"no time", `{"user":"alice","wait":"15"}`, 422, "15s", PushOrder{}},
		{"no such user", `{"user":"carol"}`, 404, "carol", PushOrder{}},
		{"no such device", `{"user":"alice","instance":"urn:x:y"}`, 404, "urn:x:y", PushOrder{}},
		{"unknown member", `{"user":"alice","Voip":true}`, 400, "Voip", PushOrder{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeServer{devices: devices}
			res, body := ask(t, server(f), "POST", "/v1/push/test", "application/json", tt.body)
			if res.StatusCode != tt.status || !strings.Contains(body, tt.has) || !reflect.DeepEqual(f.order, tt.want) {
				t.Errorf("%d %s, ordered %+v; want %d with %q, %+v", res.StatusCode, body, f.order, tt.status, tt.has, tt.want)
			}
		})
	}
	if res, body := ask(t, server(&fakeServer{}), "POST", "/v1/push/test", "application/json", `{"user":"alice"}`); res.StatusCode != 404 || !strings.Contains(body, "no device") {
		t.Errorf("a user without devices: %d %s", res.StatusCode, body)
	}
}

func TestSkippedIsNotTested(t *testing.T) {
	good, bad, skipped := PushReport{OK: true}, PushReport{}, PushReport{Skipped: true}
	for _, tt := range []struct {
		reports []PushReport
		want    bool
	}{
		{nil, false}, {[]PushReport{good}, true}, {[]PushReport{good, bad}, false}, {[]PushReport{skipped}, false},
		{[]PushReport{skipped, good}, true}, {[]PushReport{good, skipped}, true}, {[]PushReport{skipped, bad}, false},
	} {
		if got := allOK(tt.reports); got != tt.want {
			t.Errorf("%+v: %t", tt.reports, got)
		}
	}
	var b bytes.Buffer
	skipped.Stages = []Stage{{Name: "network", OK: true}, {Name: "push", Text: "nothing was sent", Cure: "test with --voip"}}
	if err := (PushOutcome{Reports: []PushReport{skipped}}).Explain(&b); err != nil || strings.Contains(b.String(), "FAILED") || !strings.Contains(b.String(), "  skip    push ") {
		t.Errorf("%v %s", err, &b)
	}
}

func TestClient(t *testing.T) {
	f := &fakeServer{devices: map[string][]Device{"alice@a.example": {{Key: "k1"}}}}
	s := httptest.NewServer(server(f))
	defer s.Close()
	out, err := Client{Server: s.URL}.TestPush(t.Context(), PushRequest{User: "alice", VoIP: true})
	if err != nil || out.OK || len(out.Reports) != 2 {
		t.Errorf("%+v %v", out, err)
	}
	var p Problem
	if _, err := (Client{Server: s.URL}).TestPush(t.Context(), PushRequest{User: "carol"}); !errors.As(err, &p) || p.Status != 404 || !strings.Contains(err.Error(), "domains[].users") {
		t.Errorf("a problem: %v", err)
	}
	for _, bad := range []string{"", "127.0.0.1:8080", "ftp://x", "http://127.0.0.1:1"} {
		if _, err := (Client{Server: bad}).TestPush(t.Context(), PushRequest{User: "alice"}); !errors.Is(err, ErrServer) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := (Client{Server: s.URL, TokenFile: filepath.Join(t.TempDir(), "none")}).TestPush(t.Context(), PushRequest{User: "alice"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no token file: %v", err)
	}
}

func TestExplain(t *testing.T) {
	var b bytes.Buffer
	o := PushOutcome{Reports: []PushReport{{Kind: "alert", User: "alice@a.example", Token: "…e8f0", Stages: []Stage{
		{Name: "network", OK: true, Text: "connected", TookMS: 12}, {Name: "push", Text: "APNs refused the token: Unregistered", Cure: "open the app", TookMS: 3}}}}}
	if err := o.Explain(&b); err != nil {
		t.Fatal(err)
	}
	want := "alert push to alice@a.example …e8f0\n" +
		"  ok      network             12 ms  connected\n" +
		"  FAILED  push                 3 ms  APNs refused the token: Unregistered\n" +
		"                                     cure: open the app\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &b, want)
	}
}
