package api

import (
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// A web page may let its name point to this machine, or post to it across origins:
// it neither reads nor changes anything.
func TestWebPagesAreRefused(t *testing.T) {
	const origin, fetch = "Origin", "Sec-Fetch-Site"
	tests := []struct {
		name, method, host string
		header, value      string
		token              string
		status             int
	}{
		{"by name", "GET", "localhost:8080", "", "", "", 200},
		{"in capitals, fully qualified", "GET", "LocalHost.", "", "", "", 200},
		{"below localhost", "GET", "wakebridge.localhost:8080", "", "", "", 200},
		{"IPv4", "GET", "127.0.0.1:8080", "", "", "", 200},
		{"all of 127/8", "GET", "127.8.8.8", "", "", "", 200},
		{"IPv6", "GET", "[::1]:8080", "", "", "", 200},
		{"IPv6 without port", "GET", "[::1]", "", "", "", 200},
		{"the bound address", "GET", "192.0.2.7:8080", "", "", "", 200},
		{"the bound address, mapped", "GET", "[::ffff:192.0.2.7]:8080", "", "", "", 200},
		{"rebound", "GET", "evil.example:8080", "", "", "", 421},
		{"rebound without port", "GET", "evil.example", "", "", "", 421},
		{"looks like ours", "GET", "localhost.evil.example:8080", "", "", "", 421},
		{"ends like ours", "GET", "evillocalhost:8080", "", "", "", 421},
		{"another address", "GET", "192.0.2.8:8080", "", "", "", 421},
		{"no address", "GET", "0.0.0.0:8080", "", "", "", 421},
		{"none, as no browser", "GET", "", "", "", "", 200},
		{"rebound PUT of one origin", "PUT", "evil.example:8080", origin, "http://evil.example:8080", "", 421},
		{"any name, with the token", "GET", "pbx.example:8080", "", "", "0123456789abcdef", 200},
		{"another origin", "PUT", "localhost:8080", origin, "http://evil.example", "", 403},
		{"another origin, by the browser's word", "DELETE", "localhost:8080", fetch, "cross-site", "", 403},
		{"another port of this machine", "POST", "localhost:8080", origin, "http://localhost:3000", "", 403},
		{"a sandboxed page", "PUT", "localhost:8080", origin, "null", "", 403},
		{"another origin, with the token", "PUT", "pbx.example", origin, "http://evil.example", "0123456789abcdef", 403},
		{"our own page", "PUT", "localhost:8080", fetch, "same-origin", "", 201},
		{"the address bar", "PUT", "localhost:8080", fetch, "none", "", 201},
		{"a link from another page", "GET", "localhost:8080", fetch, "cross-site", "", 200},
		{"no browser", "PUT", "localhost:8080", "", "", "", 201},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &fakeServer{devices: map[string][]Device{}}
			h := New(Config{Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Devices: f, Pusher: f,
				Token: tt.token, Bound: netip.MustParseAddr("192.0.2.7")})
			path := "/v1/users/alice/devices"
			if tt.method != "GET" {
				path += "/" + phone
			}
			req := httptest.NewRequestWithContext(t.Context(), tt.method, path, strings.NewReader(good))
			req.Host = tt.host
			req.Header.Set("Content-Type", "application/json")
			if tt.header != "" {
				req.Header.Set(tt.header, tt.value)
			}
			if tt.token != "" {
				req.Header.Set("Authorization", "Bearer "+tt.token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			if w.Code != tt.status {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Code >= 400 && (len(f.calls) > 0 || !strings.Contains(w.Body.String(), `"fix":`)) {
				t.Errorf("%v, %s", f.calls, w.Body)
			}
		})
	}
}
