package apnssim

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
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
//	POST   /v1/keys                          {"team_id", "key_id"} -> {"p8"}
//	DELETE /v1/keys/{id}
//	GET    /v1/devices
//	POST   /v1/devices                       {"name", "environment"}
//	GET    /v1/devices/{name}
//	POST   /v1/devices/{name}/tokens         {"bundle", "kind"} -> {"token"}
//	POST   /v1/devices/{name}/online         also /offline
//	POST   /v1/devices/{name}/reinstall      {"bundle"}
//	GET    /v1/devices/{name}/deliveries     ?after=SEQ&wait=30s: long poll
//	POST   /v1/tokens/{token}/state          {"state", "since"}
//	GET    /v1/faults
//	POST   /v1/faults                        {"match", "action"} -> {"id"}
//	DELETE /v1/faults                        all; /v1/faults/{id}: one
//	GET    /v1/requests                      ?after=&token=&topic=&apns_id=&environment=&status=&reason=
//
// A stream for phones (websocket) will join here.
func (s *Sim) AdminHandler() http.Handler {
	a := &admin{sim: s}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", a.status)
	mux.HandleFunc("GET /v1/ca.pem", a.ca)
	mux.HandleFunc("POST /v1/teams", a.addTeam)
	mux.HandleFunc("POST /v1/keys", a.addKey)
	mux.HandleFunc("DELETE /v1/keys/{id}", a.removeKey)
	mux.HandleFunc("GET /v1/devices", a.devices)
	mux.HandleFunc("POST /v1/devices", a.addDevice)
	mux.HandleFunc("GET /v1/devices/{name}", a.device(a.showDevice))
	mux.HandleFunc("POST /v1/devices/{name}/tokens", a.device(a.register))
	mux.HandleFunc("POST /v1/devices/{name}/online", a.device(a.connect(true)))
	mux.HandleFunc("POST /v1/devices/{name}/offline", a.device(a.connect(false)))
	mux.HandleFunc("POST /v1/devices/{name}/reinstall", a.device(a.reinstall))
	mux.HandleFunc("GET /v1/devices/{name}/deliveries", a.device(a.deliveries))
	mux.HandleFunc("POST /v1/tokens/{token}/state", a.setState)
	mux.HandleFunc("GET /v1/faults", a.faults)
	mux.HandleFunc("POST /v1/faults", a.addFault)
	mux.HandleFunc("DELETE /v1/faults", a.clearFaults)
	mux.HandleFunc("DELETE /v1/faults/{id}", a.removeFault)
	mux.HandleFunc("GET /v1/requests", a.requests)
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
		{ErrKeyTaken, http.StatusConflict},
		{ErrAppTaken, http.StatusConflict},
		{ErrUnknownTeam, http.StatusNotFound},
		{ErrUnknownToken, http.StatusNotFound},
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

func (a *admin) addKey(w http.ResponseWriter, r *http.Request) {
	var body struct {
		TeamID string `json:"team_id"`
		KeyID  string `json:"key_id"`
	}
	if !read(w, r, &body) {
		return
	}
	p8, err := a.sim.GenerateKey(body.TeamID, body.KeyID)
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, map[string]string{"p8": string(p8)})
}

func (a *admin) removeKey(w http.ResponseWriter, r *http.Request) {
	a.sim.RemoveKey(r.PathValue("id"))
	done(w, nil)
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

// faultBody is a Rule in JSON: durations as Go writes them ("250ms").
type faultBody struct {
	ID    int `json:"id,omitempty"`
	Hits  int `json:"hits,omitempty"`
	Match struct {
		Token       string      `json:"token,omitempty"`
		Topic       string      `json:"topic,omitempty"`
		Environment Environment `json:"environment,omitempty"`
		Nth         int         `json:"nth,omitempty"`
		Times       int         `json:"times,omitempty"`
		Probability float64     `json:"probability,omitempty"`
	} `json:"match"`
	Action struct {
		Fault       Fault     `json:"fault"`
		Status      int       `json:"status,omitempty"`
		Reason      string    `json:"reason,omitempty"`
		Timestamp   time.Time `json:"timestamp,omitzero"`
		Latency     span      `json:"latency,omitzero"`
		Jitter      span      `json:"jitter,omitzero"`
		Code        uint32    `json:"code,omitempty"`
		Deliver     bool      `json:"deliver,omitempty"`
		Unprocessed bool      `json:"unprocessed,omitempty"`
	} `json:"action"`
}

// span is a duration that reads and writes as text.
type span time.Duration

func (d span) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

func (d *span) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = span(v)
	return err
}

func (b *faultBody) rule() Rule {
	m, a := b.Match, b.Action
	return Rule{
		Match: Match(m),
		Action: Action{
			Fault: a.Fault, Status: a.Status, Reason: a.Reason, Timestamp: a.Timestamp,
			Latency: time.Duration(a.Latency), Jitter: time.Duration(a.Jitter),
			Code: http2.ErrCode(a.Code), Deliver: a.Deliver, Unprocessed: a.Unprocessed,
		},
	}
}

func newFaultBody(f FaultStatus) faultBody {
	b := faultBody{ID: f.ID, Hits: f.Hits}
	m, a := f.Rule.Match, f.Rule.Action
	b.Match.Token, b.Match.Topic, b.Match.Environment = m.Token, m.Topic, m.Environment
	b.Match.Nth, b.Match.Times, b.Match.Probability = m.Nth, m.Times, m.Probability
	b.Action.Fault, b.Action.Status, b.Action.Reason, b.Action.Timestamp = a.Fault, a.Status, a.Reason, a.Timestamp
	b.Action.Latency, b.Action.Jitter, b.Action.Code = span(a.Latency), span(a.Jitter), uint32(a.Code)
	b.Action.Deliver, b.Action.Unprocessed = a.Deliver, a.Unprocessed
	return b
}

func (a *admin) faults(w http.ResponseWriter, _ *http.Request) {
	list := []faultBody{}
	for _, f := range a.sim.Faults() {
		list = append(list, newFaultBody(f))
	}
	answer(w, list)
}

func (a *admin) addFault(w http.ResponseWriter, r *http.Request) {
	var body faultBody
	if !read(w, r, &body) {
		return
	}
	id, err := a.sim.AddFault(body.rule())
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, map[string]int{"id": id})
}

func (a *admin) clearFaults(w http.ResponseWriter, _ *http.Request) {
	a.sim.ClearFaults()
	done(w, nil)
}

func (a *admin) removeFault(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		problem(w, http.StatusBadRequest, "id is not a number")
		return
	}
	done(w, a.sim.RemoveFault(id))
}

// requests lists the journal, authorization masked: a provider token is a
// secret for an hour.
func (a *admin) requests(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	f := Filter{
		Token: q.Get("token"), Topic: q.Get("topic"), APNsID: q.Get("apns_id"),
		Environment: Environment(q.Get("environment")), Reason: q.Get("reason"),
	}
	var err error
	if f.After, err = number(q.Get("after")); err != nil {
		problem(w, http.StatusBadRequest, "after is not a number")
		return
	}
	status, err := number(q.Get("status"))
	if err != nil {
		problem(w, http.StatusBadRequest, "status is not a number")
		return
	}
	f.Status = int(status)
	list := []shownEntry{}
	for _, e := range a.sim.Requests(f) {
		header := make([]Field, len(e.Header))
		for j, h := range e.Header {
			if h.Name == "authorization" {
				h.Value = "****"
			}
			header[j] = h
		}
		e.Header = header
		list = append(list, shownEntry{Entry: e, Payload: string(e.Payload)})
	}
	answer(w, list)
}

// shownEntry is an Entry whose payload a person can read.
type shownEntry struct {
	Entry
	Payload string `json:"payload"`
}

func number(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseUint(s, 10, 31)
}
