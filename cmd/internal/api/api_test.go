package api

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func get(t *testing.T, h http.Handler, path, token string) (int, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	req.Host = "localhost"
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body)
}

func TestRoutes(t *testing.T) {
	up := true
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_test_total", Help: "x"}))
	cfg := Config{Gatherer: reg, Log: slog.New(slog.DiscardHandler), Version: "v1",
		Ready: func() []Check { return []Check{{Name: "store", OK: up, Text: "disk full"}} }}
	open := New(cfg)
	cfg.Token = "0123456789abcdef"
	closed := New(cfg)
	tests := []struct {
		name   string
		h      http.Handler
		path   string
		token  string
		up     bool
		status int
		has    string
	}{
		{"health", open, "/healthz", "", true, 200, `"v1"`},
		{"ready", open, "/readyz", "", true, 200, `"ready":true`},
		{"not ready says why", open, "/readyz", "", false, 503, "disk full"},
		{"metrics", open, "/metrics", "", true, 200, "wakebridge_test_total 0"},
		{"unknown path says what there is", open, "/v1/nothing", "", true, 404, "/healthz"},
		{"health needs no token", closed, "/healthz", "", true, 200, "ok"},
		{"no token", closed, "/metrics", "", true, 401, "http.token_file"},
		{"wrong token", closed, "/metrics", "0123456789abcdeF", true, 401, "http.token_file"},
		{"right token", closed, "/metrics", "0123456789abcdef", true, 200, "wakebridge_test_total"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			up = tt.up
			status, body := get(t, tt.h, tt.path, tt.token)
			if status != tt.status || !strings.Contains(body, tt.has) {
				t.Errorf("GET %s: %d %s; want %d with %q", tt.path, status, body, tt.status, tt.has)
			}
			if status >= 400 && status != 503 {
				var p Problem
				if err := json.Unmarshal([]byte(body), &p); err != nil || p.Fix == "" || p.Status != status {
					t.Errorf("no problem with a fix: %s (%v)", body, err)
				}
			}
		})
	}
}

// RFC 6750 s2.1: the scheme is Bearer, in any case, and nothing else.
func TestScheme(t *testing.T) {
	const token = "0123456789abcdef"
	h := New(Config{Gatherer: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler), Token: token})
	for authorization, want := range map[string]int{
		"Bearer " + token: http.StatusOK, "bearer " + token: http.StatusOK,
		token: http.StatusUnauthorized, "Basic " + token: http.StatusUnauthorized, "Bearer": http.StatusUnauthorized, "": http.StatusUnauthorized,
	} {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
		req.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("%q: %d, want %d", authorization, w.Code, want)
		}
	}
}
