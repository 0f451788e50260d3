package invariants

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"wakebridge/bridge"
	"wakebridge/push/fcm/fcmsim"
)

// message is a request to FCM.
type message struct {
	Message struct {
		Token string  `json:"token"`
		Data  payload `json:"data"`
	} `json:"message"`
}

// rings are the messages about one call to one device.
type rings struct {
	rec     *bridge.Record
	token   string
	first   time.Time // when the first that announces the call came
	calls   int       // of these, those that were accepted
	cancels int       // the accepted ones that take it back
}

// messages: FCM is promised what APNs is (see pushes), but for the cancel, which on
// Android ends a ringing that nobody has to report: it follows a push of its call.
func (v *verdict) messages() {
	all := make(map[string]*rings)
	journal := slices.SortedStableFunc(slices.Values(v.google), func(a, b fcmsim.Request) int { return a.At.Compare(b.At) })
	for _, r := range journal {
		v.message(all, r)
	}
	for id, r := range all {
		if r.calls > 2 || r.calls == 2 && !hedged(r.rec, id) {
			v.breaks("UUID %s: %d FCM messages were accepted, and the record counts no hedge for them", id, r.calls)
		}
		if r.calls > 0 && !pushed(r.rec, id) {
			v.breaks("UUID %s: an FCM message was accepted, and the record of call %s has no push", id, r.rec.ID)
		}
		if r.cancels > 2 { // a lost answer doubles one
			v.breaks("UUID %s: %d FCM messages took the call back", id, r.cancels)
		}
	}
}

// message adds one to those of its call and device.
func (v *verdict) message(all map[string]*rings, req fcmsim.Request) {
	what := "FCM message at " + clock(req.At)
	var m message
	if err := json.Unmarshal([]byte(req.Body), &m); err != nil {
		v.breaks("%s: its body is not one: %v", what, err)
		return
	}
	p := m.Message.Data
	switch {
	case p.Type == "refresh" && p.UUID == "":
		return // it wakes the app without a call, which Android allows
	case p.Type != "call" && p.Type != "cancel":
		v.breaks("%s is of type %q for UUID %q", what, p.Type, p.UUID)
		return
	}
	id := uuidOf(p.UUID)
	rec := v.byUUID[id]
	if rec == nil {
		if !v.tests[id] {
			v.breaks("%s for UUID %s, which no call has", what, id)
		}
		return
	}
	if called, _, _ := strings.Cut(p.CallID, "@"); uuidOf(called) != id {
		v.breaks("%s names UUID %s and Call-ID %s", what, id, p.CallID)
	}
	r := all[id]
	if r == nil {
		r = &rings{rec: rec, token: m.Message.Token}
		all[id] = r
	}
	if r.token != m.Message.Token {
		v.breaks("call %s: UUID %s was pushed to two FCM tokens", rec.ID, id)
	}
	v.ring(r, id, p.Type, req)
}

// ring judges a message by its call.
func (v *verdict) ring(r *rings, id, kind string, req fcmsim.Request) {
	accepted := req.Status == 200 // it went to the device, whatever the server heard of it
	if kind == "call" {
		v.inCall(fmt.Sprintf("FCM message for UUID %s", id), req.At, r.rec)
		if r.first.IsZero() {
			r.first = req.At
		}
		if accepted {
			r.calls++
		}
		return
	}
	if accepted {
		r.cancels++
	}
	if r.first.IsZero() {
		v.breaks("UUID %s: an FCM message takes back a call at %s that none announced", id, clock(req.At))
	}
	if a := attempt(r.rec, id); a != nil && !a.Answered.IsZero() {
		v.breaks("UUID %s: an FCM message takes back the call at %s that the device answered", id, clock(req.At))
	}
}

// attempt is that of a record with that UUID, nil if there is none.
func attempt(rec *bridge.Record, id string) *bridge.AttemptRecord {
	for i, a := range rec.Attempts {
		if uuidOf(a.UUID) == id {
			return &rec.Attempts[i]
		}
	}
	return nil
}

// pushed says that the record of a call has a push to the device with that UUID.
func pushed(rec *bridge.Record, id string) bool {
	a := attempt(rec, id)
	return a != nil && len(a.Pushes) > 0
}
