package apnssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
)

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
		LastStream  uint32    `json:"last_stream,omitempty"`
		Grace       span      `json:"grace,omitzero"`
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
			LastStream: a.LastStream, Grace: time.Duration(a.Grace),
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
	b.Action.LastStream, b.Action.Grace = a.LastStream, span(a.Grace)
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

// networkBody is a Network in JSON.
type networkBody struct {
	Lose      float64 `json:"lose"`
	Duplicate float64 `json:"duplicate"`
	Reorder   float64 `json:"reorder"`
	ReorderBy span    `json:"reorder_by,omitzero"`
	LateZero  float64 `json:"late_zero"`
	LateBy    span    `json:"late_by,omitzero"`
}

func (b networkBody) network() Network {
	return Network{
		Lose: b.Lose, Duplicate: b.Duplicate,
		Reorder: b.Reorder, ReorderBy: time.Duration(b.ReorderBy),
		LateZero: b.LateZero, LateBy: time.Duration(b.LateBy),
	}
}

func (a *admin) network(w http.ResponseWriter, _ *http.Request) {
	n := a.sim.Network()
	answer(w, networkBody{
		Lose: n.Lose, Duplicate: n.Duplicate,
		Reorder: n.Reorder, ReorderBy: span(n.ReorderBy),
		LateZero: n.LateZero, LateBy: span(n.LateBy),
	})
}

func (a *admin) setNetwork(w http.ResponseWriter, r *http.Request) {
	var body networkBody
	if read(w, r, &body) {
		done(w, a.sim.SetNetwork(body.network()))
	}
}

// Trouble is what a file may ask of a simulator: fault rules and a network.
type Trouble struct {
	Rules   []Rule
	Network Network
}

// ParseTrouble reads {"faults": [...], "network": {...}}, both as the admin
// handler takes them and both optional. Errors: ErrBadRule, ErrBadNetwork.
func ParseTrouble(document []byte) (Trouble, error) {
	var body struct {
		Faults  []faultBody `json:"faults"`
		Network networkBody `json:"network"`
	}
	d := json.NewDecoder(bytes.NewReader(document))
	d.DisallowUnknownFields()
	if err := d.Decode(&body); err != nil {
		return Trouble{}, fmt.Errorf("%w: %w", ErrBadRule, err)
	}
	t := Trouble{Network: body.Network.network()}
	for i := range body.Faults {
		r := body.Faults[i].rule()
		if err := r.valid(); err != nil {
			return Trouble{}, fmt.Errorf("fault %d: %w", i+1, err)
		}
		t.Rules = append(t.Rules, r)
	}
	return t, t.Network.valid()
}
