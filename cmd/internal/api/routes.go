package api

import (
	_ "embed"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// openapi describes the routes below, and nothing else.
//
//go:embed openapi.json
var openapi []byte

// handlers answers the routes.
type handlers struct {
	cfg Config
	mux *http.ServeMux
}

// route is one thing that this build answers.
type route struct {
	method, path string
	handler      http.Handler
}

// routes is all that this build answers; /openapi.json says the same.
func (h *handlers) routes() []route {
	served := func(fn http.HandlerFunc) http.Handler { return h.whenServing(fn) }
	return []route{
		{"GET", "/healthz", http.HandlerFunc(h.health)},
		{"GET", "/readyz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { ready(w, h.cfg) })},
		{"GET", "/metrics", promhttp.HandlerFor(h.cfg.Gatherer, promhttp.HandlerOpts{})},
		{"GET", "/openapi.json", http.HandlerFunc(h.describe)},
		{"GET", "/v1/users/{user}/devices", served(h.listDevices)},
		{"GET", "/v1/users/{user}/devices/{instance}", served(h.getDevice)},
		{"PUT", "/v1/users/{user}/devices/{instance}", served(h.putDevice)},
		{"DELETE", "/v1/users/{user}/devices/{instance}", served(h.deleteDevice)},
		{"POST", "/v1/push/test", served(h.pushTest)},
		{"GET", "/v1/calls/{id}/pcap", served(h.getCapture)},
	}
}

func (h *handlers) health(w http.ResponseWriter, _ *http.Request) {
	reply(w, h.cfg.Log, http.StatusOK, map[string]string{"status": "ok", "version": h.cfg.Version})
}

func (h *handlers) describe(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if _, err := w.Write(openapi); err != nil {
		h.cfg.Log.Debug("write HTTP response", "error", err)
	}
}

// whenServing keeps requests away from parts that are not there yet.
func (h *handlers) whenServing(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.cfg.Serving != nil && !h.cfg.Serving() {
			w.Header().Set("Retry-After", "1")
			h.fail(w, Problem{Status: http.StatusServiceUnavailable, Title: "The server is starting", Fix: "Try again in a moment."})
			return
		}
		next(w, r)
	})
}

// unknown answers what no route takes: the path is wrong, or only the method.
func (h *handlers) unknown(w http.ResponseWriter, r *http.Request) {
	var allow, paths []string
	for _, route := range h.routes() {
		other := r.Clone(r.Context())
		other.Method = route.method
		if _, pattern := h.mux.Handler(other); pattern == route.method+" "+route.path {
			allow = append(allow, route.method)
		}
		if !slices.Contains(paths, route.path) {
			paths = append(paths, route.path)
		}
	}
	if len(allow) > 0 {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		h.fail(w, Problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed", Fix: "This path answers " + strings.Join(allow, ", ") + "."})
		return
	}
	h.fail(w, Problem{Status: http.StatusNotFound, Title: "Not found", Fix: "This build answers " + strings.Join(paths, ", ") + "."})
}

func (h *handlers) fail(w http.ResponseWriter, p Problem) { Fail(w, h.cfg.Log, p) }
