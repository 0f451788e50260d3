// Package api is what the HTTP port answers.
package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Check is one condition of readiness.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text,omitempty"` // what is wrong, and the cure
}

// Config is what the handler needs.
type Config struct {
	// Ready lists the checks of /readyz.
	Ready    func() []Check
	Gatherer prometheus.Gatherer
	// Token must be in each request as a bearer token, but for /healthz. "": none
	// is asked for, and Host must be a name of this machine.
	Token string
	// Bound is the address of the port.
	Bound   netip.Addr
	Version string
	Log     *slog.Logger
	// Serving says that the parts below may be used; until then everything under
	// /v1/ is answered 503. nil: they may.
	Serving  func() bool
	Devices  Devices
	Pusher   PushTester
	Captures Captures
}

// New makes the handler.
func New(cfg Config) http.Handler {
	mux := http.NewServeMux()
	h := &handlers{cfg: cfg, mux: mux}
	for _, r := range h.routes() {
		mux.Handle(r.method+" "+r.path, r.handler)
	}
	mux.HandleFunc("/", h.unknown)
	return ours(cfg, authorised(cfg, mux))
}

func ready(w http.ResponseWriter, cfg Config) {
	checks := cfg.Ready()
	status := http.StatusOK
	for _, c := range checks {
		if !c.OK {
			status = http.StatusServiceUnavailable
		}
	}
	reply(w, cfg.Log, status, map[string]any{"ready": status == http.StatusOK, "checks": checks})
}

// authorised asks for the bearer token.
func authorised(cfg Config, next http.Handler) http.Handler {
	if cfg.Token == "" {
		return next
	}
	want := sha256.Sum256([]byte(cfg.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		if r.URL.Path != "/healthz" && (!strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(want[:], got[:]) != 1) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			Fail(w, cfg.Log, Problem{Status: http.StatusUnauthorized, Title: "No valid token",
				Fix: "Send the header 'Authorization: Bearer TOKEN' with the token of http.token_file."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Problem is an error as RFC 9457 has it, with the cure.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// Error says all of it in one line.
func (p Problem) Error() string {
	text := p.Title
	if p.Detail != "" {
		text += ": " + p.Detail
	}
	if p.Fix != "" {
		text += ". " + p.Fix
	}
	return text
}

// Fail answers with a problem.
func Fail(w http.ResponseWriter, log *slog.Logger, p Problem) {
	if p.Type == "" {
		p.Type = "about:blank"
	}
	w.Header().Set("Content-Type", "application/problem+json")
	write(w, log, p.Status, p)
}

func reply(w http.ResponseWriter, log *slog.Logger, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	write(w, log, status, v)
}

func write(w http.ResponseWriter, log *slog.Logger, status int, v any) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Debug("write HTTP response", "error", err)
	}
}
