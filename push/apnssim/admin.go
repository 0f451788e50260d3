package apnssim

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// maxAdminBody bounds a request to the admin handler, in bytes.
const maxAdminBody = 64 << 10

// maxPoll bounds how long the admin handler holds a request for deliveries.
const maxPoll = time.Minute

// AdminHandler offers the simulator over HTTP and JSON to phones and tests in
// other processes. It has no authentication: serve it on loopback only.
//
//	GET    /v1/status                        addresses and counters
//	GET    /v1/ca.pem                        what clients must trust
//	POST   /v1/teams                         {"team_id", "bundles"}
//	DELETE /v1/apps/{bundle}
//	POST   /v1/keys                          {"team_id", "key_id", "environment", "topics"} -> {"p8"};
//	                                         with "public_key" (PEM) of a key of your own: nothing
//	DELETE /v1/keys/{id}
//	POST   /v1/certificates                  {"team_id", "bundle", "kind", "environment", "password"} -> {"pem", "p12"}
//	GET    /v1/devices
//	POST   /v1/devices                       {"name", "environment"}
//	GET    /v1/devices/{name}                also DELETE
//	POST   /v1/devices/{name}/tokens         {"bundle", "kind"} -> {"token"}
//	POST   /v1/devices/{name}/online         also /offline
//	POST   /v1/devices/{name}/reinstall      {"bundle"}
//	GET    /v1/devices/{name}/deliveries     ?after=SEQ&wait=30s: long poll
//	GET    /v1/devices/{name}/stream         ?after=SEQ: a line of JSON per delivery, until the client leaves
//	POST   /v1/tokens/{token}/state          {"state", "since"}
//	GET    /v1/faults
//	POST   /v1/faults                        {"match", "action"} -> {"id"}
//	DELETE /v1/faults                        all; /v1/faults/{id}: one
//	GET    /v1/network                       also PUT {"lose", "duplicate", "reorder", "reorder_by", "late_zero", "late_by"}
//	GET    /v1/requests                      ?after=&token=&topic=&apns_id=&environment=&status=&reason=
//	GET    /v1/journal                       ?after=CHANGE: a line of JSON per request, again when it changes
//
// Client is the phone's side of it.
func (s *Sim) AdminHandler() http.Handler {
	a := &admin{sim: s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", a.status)
	mux.HandleFunc("GET /v1/ca.pem", a.ca)
	mux.HandleFunc("POST /v1/teams", a.addTeam)
	mux.HandleFunc("DELETE /v1/apps/{bundle}", a.removeApp)
	mux.HandleFunc("POST /v1/keys", a.addKey)
	mux.HandleFunc("DELETE /v1/keys/{id}", a.removeKey)
	mux.HandleFunc("POST /v1/certificates", a.addCertificate)
	mux.HandleFunc("GET /v1/devices", a.devices)
	mux.HandleFunc("POST /v1/devices", a.addDevice)
	mux.HandleFunc("GET /v1/devices/{name}", a.device(a.showDevice))
	mux.HandleFunc("DELETE /v1/devices/{name}", a.removeDevice)
	mux.HandleFunc("POST /v1/devices/{name}/tokens", a.device(a.register))
	mux.HandleFunc("POST /v1/devices/{name}/online", a.device(a.connect(true)))
	mux.HandleFunc("POST /v1/devices/{name}/offline", a.device(a.connect(false)))
	mux.HandleFunc("POST /v1/devices/{name}/reinstall", a.device(a.reinstall))
	mux.HandleFunc("GET /v1/devices/{name}/deliveries", a.device(a.deliveries))
	mux.HandleFunc("GET /v1/devices/{name}/stream", a.device(a.stream))
	mux.HandleFunc("POST /v1/tokens/{token}/state", a.setState)
	mux.HandleFunc("GET /v1/faults", a.faults)
	mux.HandleFunc("POST /v1/faults", a.addFault)
	mux.HandleFunc("DELETE /v1/faults", a.clearFaults)
	mux.HandleFunc("DELETE /v1/faults/{id}", a.removeFault)
	mux.HandleFunc("GET /v1/network", a.network)
	mux.HandleFunc("PUT /v1/network", a.setNetwork)
	mux.HandleFunc("GET /v1/requests", a.requests)
	mux.HandleFunc("GET /v1/journal", a.journal)
	return mux
}

type admin struct{ sim *Sim }

// problem answers RFC 9457 problem details.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	writeJSON(w, map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// failed answers with the status that goes with an error of this package.
func failed(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	for _, e := range []struct {
		err    error
		status int
	}{
		{ErrBadIdentifier, http.StatusBadRequest},
		{ErrBadKey, http.StatusBadRequest},
		{ErrBadRule, http.StatusBadRequest},
		{ErrBadNetwork, http.StatusBadRequest},
		{ErrKeyTaken, http.StatusConflict},
		{ErrAppTaken, http.StatusConflict},
		{ErrUnknownTeam, http.StatusNotFound},
		{ErrUnknownToken, http.StatusNotFound},
		{ErrUnknownDevice, http.StatusNotFound},
		{ErrUnknownFault, http.StatusNotFound},
	} {
		if errors.Is(err, e.err) {
			status = e.status
		}
	}
	problem(w, status, err.Error())
}

func done(w http.ResponseWriter, err error) {
	if err != nil {
		failed(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeJSON(w, v)
}

// writeJSON encodes v; what cannot be written any more has no reader either.
func writeJSON(w http.ResponseWriter, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return
	}
}

// read decodes a request's body strictly; it answers itself when it cannot.
func read(w http.ResponseWriter, r *http.Request, into any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAdminBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		problem(w, http.StatusBadRequest, "body: "+err.Error())
		return false
	}
	return true
}

func (a *admin) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, map[string]any{
		"sandbox":    a.sim.URL(Sandbox),
		"production": a.sim.URL(Production),
		"stats":      a.sim.Stats(),
	})
}

func (a *admin) ca(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/x-pem-file")
	if _, err := w.Write(a.sim.CAPEM()); err != nil {
		return // the reader is gone
	}
}

func (a *admin) addTeam(w http.ResponseWriter, r *http.Request) {
	var body struct {
		TeamID  string   `json:"team_id"`
		Bundles []string `json:"bundles"`
	}
	if read(w, r, &body) {
		done(w, a.sim.AddTeam(body.TeamID, body.Bundles...))
	}
}

func (a *admin) setState(w http.ResponseWriter, r *http.Request) {
	var body struct {
		State State     `json:"state"`
		Since time.Time `json:"since"` // absent: now
	}
	if !read(w, r, &body) {
		return
	}
	if body.Since.IsZero() {
		body.Since = a.sim.cfg.Now()
	}
	done(w, a.sim.SetTokenState(r.PathValue("token"), body.State, body.Since))
}
