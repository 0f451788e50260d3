package apns_test

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wakebridge/push"
	"wakebridge/push/apns"
)

// oddService is a service whose Apple is an ordinary HTTP server on loopback:
// it says what the simulator never would.
func oddService(t *testing.T, http2 bool, answer http.HandlerFunc) push.Sender {
	t.Helper()
	server := httptest.NewUnstartedServer(answer)
	server.EnableHTTP2 = http2
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	service, err := apns.New(apns.Config{
		Production: server.URL, Sandbox: server.URL, RootCAs: roots,
		Apps: []apns.App{{BundleID: bundle, TeamID: team, Keys: []apns.Key{anyKey(t)}}},
	})
	must(t, err)
	t.Cleanup(func() { must(t, service.Close()) })
	return service.Routes()[0].Sender
}

func TestAnswersThatAppleWouldNotGive(t *testing.T) {
	t.Parallel()
	reply := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example/")
			w.WriteHeader(status)
			_, err := w.Write([]byte(body))
			if err != nil {
				return
			}
		}
	}
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   push.Outcome
		status int
		reason push.Reason
		tries  int
		dead   bool
	}{
		{"accepted with a body", reply(200, "OK"), push.Accepted, 200, "", 1, false},
		{"a proxy's page", reply(502, "<html>Bad Gateway</html>"), push.Refused, 502, "HTTP 502", 1, false},
		{"503 without JSON", reply(503, "later"), push.Refused, 503, "HTTP 503", 3, false},
		{"redirect", reply(307, ""), push.Refused, 307, "HTTP 307", 1, false},
		{"410 without JSON", reply(410, "gone"), push.Refused, 410, "HTTP 410", 1, true},
		{"410 with a time stamp that is none", reply(410, `{"reason":"Unregistered","timestamp":"yesterday"}`), push.Refused, 410, "HTTP 410", 1, true},
		{"410 with a negative time stamp", reply(410, `{"reason":"Unregistered","timestamp":-5}`), push.Refused, 410, "Unregistered", 1, true},
		{"reason that would break a log line", reply(400, `{"reason":"a\nlevel=ERROR"}`), push.Refused, 400, "HTTP 400", 1, false},
		{"endless body", reply(400, strings.Repeat("x", 1<<20)), push.Refused, 400, "HTTP 400", 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var hits atomic.Int32
			sender := oddService(t, true, func(w http.ResponseWriter, r *http.Request) {
				hits.Add(1)
				tt.answer(w, r)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			before := time.Now()
			r := sender.Send(ctx, push.Target{Token: fresh, Environment: push.Production}, call(pushID))
			if r.Outcome != tt.want || r.Status != tt.status || r.Reason != tt.reason || r.Tries != tt.tries {
				t.Errorf("%+v", r)
			}
			if int(hits.Load()) != tt.tries {
				t.Errorf("%d requests", hits.Load())
			}
			if r.Dead.IsZero() == tt.dead || tt.dead && (r.Dead.Since.Before(before) || r.Dead.Since.After(time.Now())) {
				t.Errorf("dead: %+v", r.Dead)
			}
		})
	}
}

func TestServerWithoutHTTP2(t *testing.T) {
	t.Parallel()
	sender := oddService(t, false, func(http.ResponseWriter, *http.Request) { t.Error("a request came by HTTP/1") })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := sender.Send(ctx, push.Target{Token: fresh}, call(pushID))
	if r.Outcome != push.NoAnswer || r.Reason != push.Unreachable || r.Text == "" || strings.Contains(r.Text, fresh.Secret()) {
		t.Errorf("%+v", r)
	}
}

func TestServerOfAnUnknownAuthority(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	service, err := apns.New(apns.Config{
		Production: server.URL, RootCAs: x509.NewCertPool(),
		Apps: []apns.App{{BundleID: bundle, TeamID: team, Environment: push.Production, Keys: []apns.Key{anyKey(t)}}},
	})
	must(t, err)
	defer func() { must(t, service.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r := service.Routes()[0].Sender.Send(ctx, push.Target{Token: fresh}, call(pushID))
	if r.Outcome != push.NoAnswer || r.Reason != push.Unreachable || !strings.Contains(r.Text, "certificate") {
		t.Errorf("%+v", r)
	}
}
