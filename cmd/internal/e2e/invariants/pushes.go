package invariants

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"wakebridge/bridge"
	"wakebridge/push"
	"wakebridge/push/apnssim"
)

// payload is what a push says of its call.
type payload struct {
	Type   string `json:"type"`
	UUID   string `json:"uuid"`
	CallID string `json:"call_id"`
}

// wakes are the VoIP pushes of one call and device.
type wakes struct {
	token   string
	ids     map[string]bool // apns-id
	reached int             // that went on their way to the device, whatever the server heard of it
	unheard time.Time       // when the first of these came whose answer the server did not get
	yes     bool            // the server heard that one was accepted
	last    apnssim.Entry   // the last that was answered
}

// pushes: no VoIP push without a live call and none to cancel; those of a call and
// device have one UUID, one token and one apns-id, and at most one goes to the device,
// two if the hedge sent both or an answer was lost.
func (v *verdict) pushes(journal []apnssim.Entry) {
	all := make(map[string]*wakes)
	broken := breaks(journal)
	for _, e := range journal {
		if e.Get("apns-push-type") != "voip" {
			continue
		}
		p, ok := v.payloadOf(e)
		if !ok {
			continue
		}
		id := uuidOf(p.UUID)
		rec := v.byUUID[id]
		if rec == nil && v.tests[id] {
			continue
		}
		if rec == nil {
			v.breaks("VoIP push %s for UUID %s, which no call has", e.APNsID, id)
			continue
		}
		v.inCall("VoIP push "+e.APNsID, e.ReceivedAt, rec)
		if called, _, _ := strings.Cut(p.CallID, "@"); uuidOf(called) != id {
			v.breaks("VoIP push %s names UUID %s and Call-ID %s", e.APNsID, id, p.CallID)
		}
		w := all[id]
		if w == nil {
			w = &wakes{token: e.Token(), ids: make(map[string]bool)}
			all[id] = w
		}
		if !strings.EqualFold(w.token, e.Token()) {
			v.breaks("call %s: UUID %s was pushed to two device tokens", rec.ID, id)
		}
		w.add(e, !e.AnsweredAt.IsZero() && !v.wentDown(e, broken))
	}
	for id, w := range all {
		if len(w.ids) > 1 {
			v.breaks("UUID %s: VoIP pushes with %d apns-ids", id, len(w.ids))
		}
		switch {
		case w.reached > 2:
			v.breaks("UUID %s: %d VoIP pushes were accepted", id, w.reached)
		case w.reached == 2 && !hedged(v.byUUID[id], id):
			v.breaks("UUID %s: 2 VoIP pushes were accepted, and the record counts no hedge", id)
		}
		v.refused[id] = w.refused()
	}
}

// add counts a push; heard says that the server got its answer.
func (w *wakes) add(e apnssim.Entry, heard bool) {
	w.ids[strings.ToLower(e.APNsID)] = true
	if !e.AnsweredAt.IsZero() && e.AnsweredAt.After(w.last.AnsweredAt) {
		w.last = e
	}
	// One that a fault swallowed may have gone on its way before: then its delivery
	// has a result, though no answer may have been decided.
	accepted := e.Verdict.Status == 200 && !e.AnsweredAt.IsZero()
	if !accepted && e.Delivery == apnssim.Undecided {
		return
	}
	w.reached++
	w.yes = w.yes || accepted && heard
	if !heard && w.unheard.IsZero() {
		w.unheard = e.ReceivedAt
	}
}

// refused says that as far as the server can know nobody was woken, although a push
// went out: its answer was lost, and the last word on its repetition was a no.
func (w *wakes) refused() bool {
	return w.last.Verdict.Status >= 400 && !w.yes && !w.unheard.IsZero() && w.unheard.Before(w.last.AnsweredAt)
}

// hedged says that the record of a call counts a hedge among the VoIP pushes to the
// device with that UUID.
func hedged(rec *bridge.Record, id string) bool {
	for _, a := range rec.Attempts {
		if uuidOf(a.UUID) == id && slices.ContainsFunc(a.Pushes, func(p bridge.PushRecord) bool { return p.Kind == "voip" && p.Hedged }) {
			return true
		}
	}
	return false
}

// payloadOf reads a payload, which must be a call's: a VoIP push for anything else
// makes iOS kill the app.
func (v *verdict) payloadOf(e apnssim.Entry) (payload, bool) {
	var p payload
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		v.breaks("VoIP push %s: its payload is no JSON: %v", e.APNsID, err)
		return p, false
	}
	if p.Type != "call" {
		v.breaks("VoIP push %s is of type %q", e.APNsID, p.Type)
		return p, false
	}
	return p, true
}

// inCall: a push that came then is one of a live call.
func (v *verdict) inCall(what string, came time.Time, rec *bridge.Record) {
	if came.Before(rec.Started) || came.After(rec.Ended.Add(v.limits.Wire)) {
		v.breaks("%s at %s, the call %s lasted from %s to %s", what, clock(came), rec.ID, clock(rec.Started), clock(rec.Ended))
	}
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }

// deadTokens: a token that APNs called dead gets no push of a later call, unless
// the app registered it again meanwhile.
func (v *verdict) deadTokens(journal []apnssim.Entry) {
	dead := make(map[string]apnssim.Entry)
	broken := breaks(journal)
	for _, e := range journal {
		token := strings.ToLower(e.Token())
		// One that is accepted again was not dead: the 410 was a fault on order.
		if d, ok := dead[token]; ok && e.Verdict.Status != 200 && v.laterCall(d, e) && !v.registered(token, d.Verdict.Timestamp, e.ReceivedAt) {
			v.breaks("push %s goes to a token that was answered %d %s before", e.APNsID, d.Verdict.Status, e.ReceivedAt.Sub(d.AnsweredAt))
		}
		if e.Verdict.Status == 410 && v.heard(e) && !v.wentDown(e, broken) && !overtaken(journal, e) {
			dead[token] = e
		}
	}
}

// breaks says when a fault on order broke a connection.
func breaks(journal []apnssim.Entry) map[uint64]time.Time {
	out := make(map[uint64]time.Time)
	for _, e := range journal {
		if _, again := out[e.Conn]; !again && (e.Fault == apnssim.Cut || e.Fault == apnssim.Blackhole) {
			out[e.Conn] = e.ReceivedAt
		}
	}
	return out
}

// wentDown says that an answer may have been lost with its connection.
func (v *verdict) wentDown(e apnssim.Entry, broken map[uint64]time.Time) bool {
	at, lost := broken[e.Conn]
	return lost && at.Before(e.AnsweredAt.Add(v.limits.Wire))
}

// heard says that the server still listened when APNs answered: a push that its call
// has given up is heard out for push.HearOut.
func (v *verdict) heard(e apnssim.Entry) bool {
	var p payload
	if e.AnsweredAt.IsZero() || json.Unmarshal(e.Payload, &p) != nil {
		return false
	}
	rec := v.byUUID[uuidOf(p.UUID)]
	if rec == nil || slices.ContainsFunc(v.away, span{e.ReceivedAt, e.AnsweredAt.Add(v.limits.Wire)}.meets) {
		return false
	}
	over := decided(rec, uuidOf(p.UUID))
	// One that was still on its way to APNs when it was stopped is taken back.
	return e.ReceivedAt.Before(over) && over.Add(push.HearOut).After(e.AnsweredAt.Add(v.limits.Wire))
}

// decided is when the pushes to the device with that UUID were needed no longer.
func decided(rec *bridge.Record, id string) time.Time {
	at := rec.Ended
	if !rec.Answered.IsZero() {
		at = rec.Answered // from then on nobody needs the pushes to other devices
	}
	for _, a := range rec.Attempts {
		if uuidOf(a.UUID) != id {
			continue
		}
		for _, awake := range []time.Time{a.Registered, a.Rang} {
			if !awake.IsZero() && awake.Before(at) {
				at = awake
			}
		}
	}
	return at
}

// overtaken says that the answer to the other request of a hedge came first, so that
// nobody waits for this one any more; or that the push was sent again after its answer,
// which was lost with the connection.
func overtaken(journal []apnssim.Entry, e apnssim.Entry) bool {
	return slices.ContainsFunc(journal, func(o apnssim.Entry) bool {
		first := o.AnsweredAt.After(e.ReceivedAt) && !o.AnsweredAt.After(e.AnsweredAt)
		return o.Seq != e.Seq && strings.EqualFold(o.APNsID, e.APNsID) && (first || o.ReceivedAt.After(e.AnsweredAt))
	})
}

// laterCall says that a push is of a call that began after another one was refused.
func (v *verdict) laterCall(refused, e apnssim.Entry) bool {
	var p payload
	if json.Unmarshal(e.Payload, &p) != nil || p.UUID == "" {
		return false
	}
	rec := v.byUUID[uuidOf(p.UUID)]
	return rec != nil && rec.Started.After(refused.AnsweredAt.Add(v.limits.Wire))
}

func (v *verdict) registered(token string, since, until time.Time) bool {
	for _, at := range v.announced[token] {
		if !at.Before(since) && !at.After(until) {
			return true
		}
	}
	return false
}
