package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	phone = "urn:uuid:5f0f5b1c-0000-4000-8000-000000000001"
	token = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"
	good  = `{"provider":"apns","bundle_id":"com.example.phone","voip_token":"` + token + `"}`
)

// fakeServer is both parts of the server that the routes need.
type fakeServer struct {
	devices  map[string][]Device // by user
	announce error
	logOut   error
	calls    []string
	order    PushOrder
}

func (f *fakeServer) Users(name string) []string {
	switch name {
	case "alice", "alice@a.example":
		return []string{"alice@a.example"}
	case "bob":
		return []string{"bob@a.example", "bob@b.example"}
	}
	return nil
}

func (f *fakeServer) Devices(user string) []Device { return f.devices[user] }

func (f *fakeServer) Apps() []App {
	return []App{{Provider: "apns", BundleID: "com.example.phone", TeamID: "ABCDE12345"}, {Provider: "fcm", BundleID: "example-1"}}
}

func (f *fakeServer) Announce(_ context.Context, user, instance string, a Announcement) (Device, bool, error) {
	f.calls = append(f.calls, "announce "+user+" "+instance+" "+a.VoIPToken+a.AlertToken)
	if f.announce != nil {
		return Device{}, false, f.announce
	}
	_, known := f.devices[user]
	d := Device{User: user, Instance: instance, Key: instance}
	f.devices[user] = []Device{d}
	return d, !known, nil
}

func (f *fakeServer) LogOut(_ context.Context, user, key string) error {
	f.calls = append(f.calls, "log out "+user+" "+key)
	return f.logOut
}

func (f *fakeServer) TestPush(_ context.Context, o PushOrder) []PushReport {
	f.order = o
	return []PushReport{{OK: true}, {OK: !o.VoIP}}
}

func server(f *fakeServer) http.Handler {
	return New(Config{Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Ready: func() []Check { return nil }, Devices: f, Pusher: f})
}

// head is an answer without its body.
type head struct {
	StatusCode int
	Header     http.Header
}

// ask sends a request; the answer's body is a problem with a fix if it is an error.
func ask(t *testing.T, h http.Handler, method, path, kind, body string) (res head, text string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	req.Host = "localhost"
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	res, text = head{w.Code, w.Header()}, w.Body.String()
	if res.StatusCode >= 400 {
		var p Problem
		if err := json.Unmarshal([]byte(text), &p); err != nil || p.Fix == "" || p.Title == "" || p.Status != res.StatusCode ||
			res.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: no problem with a fix: %s (%v)", method, path, text, err)
		}
	}
	if strings.Contains(text, token) {
		t.Errorf("%s %s: the answer has the token: %s", method, path, text)
	}
	return res, text
}

func TestPutRefused(t *testing.T) {
	const path, kind = "/v1/users/alice/devices/" + phone, "application/json"
	tests := []struct {
		name, path, kind, body string
		status                 int
		has                    string
	}{
		{"no such user", "/v1/users/carol/devices/" + phone, kind, good, 404, "domains[].users"},
		{"user of two domains", "/v1/users/bob/devices/" + phone, kind, good, 409, "bob@a.example"},
		{"no instance", "/v1/users/alice/devices/%3C%3E", kind, good, 400, "+sip.instance"},
		{"control character in the instance", "/v1/users/alice/devices/urn:x:a%0d%0ab", kind, good, 400, "+sip.instance"},
		{"NUL in the instance", "/v1/users/alice/devices/urn:uuid:%00", kind, good, 400, "+sip.instance"},
		{"NUL at its end", "/v1/users/alice/devices/" + phone + "%00", kind, good, 400, "+sip.instance"},
		{"tab before it", "/v1/users/alice/devices/%09" + phone, kind, good, 400, "+sip.instance"},
		{"DEL in the instance", "/v1/users/alice/devices/urn:x:a%7F", kind, good, 400, "+sip.instance"},
		{"nothing after urn:uuid:", "/v1/users/alice/devices/urn:uuid:", kind, good, 400, "+sip.instance"},
		{"no content type", path, "", good, 415, "application/json"},
		{"a form", path, "application/x-www-form-urlencoded", good, 415, "application/json"},
		{"too large", path, kind, `{"provider":"` + strings.Repeat("a", maxBody) + `"}`, 413, "16384"},
		{"no JSON", path, kind, `provider=apns`, 400, "voip_token"},
		{"null", path, kind, `null`, 400, "voip_token"},
		{"two objects", path, kind, good + good, 400, "voip_token"},
		{"unknown members", path, kind, `{"provider":"apns","voipToken":"ab","Bundle":"x"}`, 400, `\"Bundle\", \"voipToken\"`},
		{"wrong case", path, kind, `{"provider":"apns","VOIP_TOKEN":"ab"}`, 400, `\"VOIP_TOKEN\"`},
		{"a number", path, kind, `{"provider":"apns","voip_token":12}`, 400, "voip_token is a number"},
		{"no provider", path, kind, `{"bundle_id":"com.example.phone","voip_token":"ab"}`, 422, "com.example.phone (team ABCDE12345)"},
		{"other app", path, kind, `{"provider":"apns","bundle_id":"com.example.other","voip_token":"ab"}`, 422, "com.example.phone (team ABCDE12345)"},
		{"other team", path, kind, `{"provider":"apns","bundle_id":"com.example.phone","team_id":"ZZZZZ12345","voip_token":"ab"}`, 422, "team ABCDE12345"},
		{"other provider", path, kind, `{"provider":"fcm","bundle_id":"com.example.phone","voip_token":"ab"}`, 422, "apns com.example.phone"},
		{"no token", path, kind, `{"provider":"apns","bundle_id":"com.example.phone"}`, 422, "DELETE"},
		{"one character", path, kind, `{"provider":"apns","bundle_id":"com.example.phone","voip_token":"a"}`, 422, "voip_token"},
		{"201 characters", path, kind, `{"provider":"apns","bundle_id":"com.example.phone","alert_token":"` + strings.Repeat("a", 201) + `"}`, 422, "alert_token"},
		{"base64", path, kind, `{"provider":"apns","bundle_id":"com.example.phone","voip_token":"APwTrf=="}`, 422, "hexadecimal"},
		{"FCM with an alert token", path, kind, `{"provider":"fcm","bundle_id":"example-1","voip_token":"a:b","alert_token":"a:b"}`, 422, "leave alert_token out"},
		{"FCM with the alert token alone", path, kind, `{"provider":"fcm","bundle_id":"example-1","alert_token":"a:b"}`, 422, "as voip_token"},
		{"FCM with a team", path, kind, `{"provider":"fcm","bundle_id":"example-1","team_id":"ABCDE12345","voip_token":"a:b"}`, 422, "Leave team_id out"},
		{"FCM with an environment", path, kind, `{"provider":"fcm","bundle_id":"example-1","environment":"sandbox","voip_token":"a:b"}`, 422, "Leave environment out"},
		{"FCM without token", path, kind, `{"provider":"fcm","bundle_id":"example-1"}`, 422, "registration token as voip_token"},
		{"FCM, a space", path, kind, `{"provider":"fcm","bundle_id":"example-1","voip_token":"a b"}`, 422, "visible"},
		{"FCM, not ASCII", path, kind, `{"provider":"fcm","bundle_id":"example-1","voip_token":"aä"}`, 422, "visible"},
		{"FCM, 4097 characters", path, kind, `{"provider":"fcm","bundle_id":"example-1","voip_token":"` + strings.Repeat("a", 4097) + `"}`, 422, "4096"},
		{"FCM, other project", path, kind, `{"provider":"fcm","bundle_id":"other","voip_token":"a:b"}`, 422, "fcm example-1"},
		{"odd environment", path, kind, `{"provider":"apns","bundle_id":"com.example.phone","environment":"test","voip_token":"ab"}`, 422, "sandbox"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeServer{devices: map[string][]Device{}}
			res, body := ask(t, server(f), "PUT", tt.path, tt.kind, tt.body)
			if res.StatusCode != tt.status || !strings.Contains(body, tt.has) {
				t.Errorf("%d %s; want %d with %q", res.StatusCode, body, tt.status, tt.has)
			}
			if len(f.calls) != 0 {
				t.Errorf("and yet: %v", f.calls)
			}
		})
	}
}

func TestPutGetDelete(t *testing.T) {
	f := &fakeServer{devices: map[string][]Device{}}
	h := server(f)
	const path = "/v1/users/alice@a.example/devices/%3CURN:UUID:5F0F5B1C-0000-4000-8000-000000000001%3E"
	for _, want := range []int{201, 200} {
		res, _ := ask(t, h, "PUT", path, "application/json; charset=utf-8", good)
		if res.StatusCode != want || want == 201 && res.Header.Get("Location") != "/v1/users/alice@a.example/devices/"+phone {
			t.Errorf("PUT: %d %v, want %d", res.StatusCode, res.Header, want)
		}
	}
	if want := "announce alice@a.example " + phone + " " + token; !slices.Equal(f.calls, []string{want, want}) {
		t.Errorf("announced: %v", f.calls)
	}
	if res, body := ask(t, h, "GET", path, "", ""); res.StatusCode != 200 || !strings.Contains(body, `"instance":"`+phone) {
		t.Errorf("GET: %d %s", res.StatusCode, body)
	}
	if res, body := ask(t, h, "GET", "/v1/users/alice/devices", "", ""); res.StatusCode != 200 || !strings.Contains(body, `"user":"alice@a.example"`) || !strings.Contains(body, phone) {
		t.Errorf("list: %d %s", res.StatusCode, body)
	}
	f.calls = nil
	if res, body := ask(t, h, "DELETE", path, "", ""); res.StatusCode != 204 || body != "" || !slices.Equal(f.calls, []string{"log out alice@a.example " + phone}) {
		t.Errorf("DELETE: %d %s %v", res.StatusCode, body, f.calls)
	}
	f.devices = map[string][]Device{"alice@a.example": {{Key: "sip:alice@10.0.0.3"}}}
	if res, _ := ask(t, h, "GET", "/v1/users/alice/devices/sip:alice@10.0.0.3", "", ""); res.StatusCode != 200 {
		t.Errorf("by key: %d", res.StatusCode)
	}
	for _, method := range []string{"GET", "DELETE"} {
		if res, _ := ask(t, h, method, path, "", ""); res.StatusCode != 404 {
			t.Errorf("%s of what is not there: %d", method, res.StatusCode)
		}
	}
	f.devices = nil
	if res, body := ask(t, h, "GET", "/v1/users/alice/devices", "", ""); res.StatusCode != 200 || !strings.Contains(body, `"devices":[]`) {
		t.Errorf("empty list: %d %s", res.StatusCode, body)
	}
}

// A token of APNs has one spelling, however it comes; those of FCM are left alone.
func TestTokensHaveOneSpelling(t *testing.T) {
	const mixed = "cX9-_y:APA91b"
	f := &fakeServer{devices: map[string][]Device{}}
	h := server(f)
	ask(t, h, "PUT", "/v1/users/alice/devices/"+phone, "application/json",
		`{"provider":"apns","bundle_id":"com.example.phone","voip_token":"00FCaD","alert_token":"ABcd"}`)
	ask(t, h, "PUT", "/v1/users/alice/devices/"+phone, "application/json", `{"provider":"fcm","bundle_id":"example-1","voip_token":"`+mixed+`"}`)
	want := []string{"announce alice@a.example " + phone + " 00fcadabcd", "announce alice@a.example " + phone + " " + mixed}
	if !slices.Equal(f.calls, want) {
		t.Errorf("%q, want %q", f.calls, want)
	}
	for app, want := range map[string]string{"com.example.phone": "cfab", "example-1": "CFab"} {
		res, _ := ask(t, h, "POST", "/v1/push/test", "application/json", `{"token":"CFab","app":"`+app+`"}`)
		if res.StatusCode != 200 || f.order.Token != want {
			t.Errorf("%s: %d, token %q", app, res.StatusCode, f.order.Token)
		}
	}
}

func TestPutOfAnAndroidDevice(t *testing.T) {
	for _, more := range []string{"", `,"environment":"auto"`, `,"environment":"","alert_token":"","team_id":""`} {
		f := &fakeServer{devices: map[string][]Device{}}
		res, body := ask(t, server(f), "PUT", "/v1/users/alice/devices/"+phone, "application/json", `{"provider":"fcm","bundle_id":"example-1","voip_token":"cX9-_y:APA91b"`+more+`}`)
		if want := "announce alice@a.example " + phone + " cX9-_y:APA91b"; res.StatusCode != 201 || !slices.Equal(f.calls, []string{want}) {
			t.Errorf("%s: %d %s %v", more, res.StatusCode, body, f.calls)
		}
	}
}

func TestNotStored(t *testing.T) {
	f := &fakeServer{devices: map[string][]Device{"alice@a.example": {{Instance: phone, Key: phone}}}, announce: ErrTokenInUse, logOut: errors.New("disk full at /secret")}
	h := server(f)
	const path = "/v1/users/alice/devices/" + phone
	if res, _ := ask(t, h, "PUT", path, "application/json", good); res.StatusCode != 409 {
		t.Errorf("token in use: %d", res.StatusCode)
	}
	f.announce = f.logOut
	for _, method := range []string{"PUT", "DELETE"} {
		res, body := ask(t, h, method, path, "application/json", good)
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || strings.Contains(body, "/secret") {
			t.Errorf("%s: %d %s", method, res.StatusCode, body)
		}
	}
}

func TestStarting(t *testing.T) {
	up := false
	h := New(Config{Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Serving: func() bool { return up },
		Devices: &fakeServer{}, Pusher: &fakeServer{}})
	for _, want := range []int{503, 200} {
		if res, _ := ask(t, h, "GET", "/v1/users/alice/devices", "", ""); res.StatusCode != want {
			t.Errorf("serving %t: %d", up, res.StatusCode)
		}
		up = true
	}
}

func TestMethodNotAllowed(t *testing.T) {
	h := server(&fakeServer{})
	for path, want := range map[string]string{"/healthz": "GET", "/v1/users/a/devices/b": "GET, PUT, DELETE", "/v1/push/test": "POST"} {
		if res, _ := ask(t, h, "PATCH", path, "", ""); res.StatusCode != 405 || res.Header.Get("Allow") != want {
			t.Errorf("PATCH %s: %d %q", path, res.StatusCode, res.Header.Get("Allow"))
		}
	}
}

// /openapi.json says all that the mux answers, and nothing else, and its objects
// have the members that the structs have.
func TestOpenAPI(t *testing.T) {
	_, text := ask(t, server(&fakeServer{}), "GET", "/openapi.json", "", "")
	var doc struct {
		OpenAPI    string
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var described, answered []string
	for path, methods := range doc.Paths {
		for method := range methods {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	h := &handlers{cfg: Config{Gatherer: prometheus.NewRegistry()}}
	for _, r := range h.routes() {
		answered = append(answered, r.method+" "+r.path)
	}
	slices.Sort(described)
	slices.Sort(answered)
	if !slices.Equal(described, answered) {
		t.Errorf("described: %v\nanswered:  %v", described, answered)
	}
	for name, of := range map[string]any{"Problem": new(Problem), "Announcement": new(Announcement), "Device": new(Device), "Push": new(Push),
		"Token": new(Token), "Binding": new(Binding), "Health": new(Health), "PushRequest": new(PushRequest), "PushOutcome": new(PushOutcome),
		"PushReport": new(PushReport), "Stage": new(Stage)} {
		have, want := []string{}, fields(of)
		for member := range doc.Components.Schemas[name].Properties {
			have = append(have, member)
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("%s: described %v, answered %v", name, have, want)
		}
	}
}
