package invariants

import (
	"encoding/json"
	"slices"
	"time"

	"wakebridge/bridge"
	"wakebridge/push/apnssim"
)

// silences: a VoIP push that stays without answer goes out a second time, on another
// path, for as long as its call waits for it (I10).
func (v *verdict) silences(journal []apnssim.Entry) {
	broken := breaks(journal)
	var order []string
	requests := make(map[string][]apnssim.Entry)
	for _, e := range journal {
		if e.Get("apns-push-type") != "voip" {
			continue
		}
		if requests[e.APNsID] == nil {
			order = append(order, e.APNsID)
		}
		requests[e.APNsID] = append(requests[e.APNsID], e)
	}
	for _, id := range order {
		v.repeats(requests[id], broken, journal)
	}
}

// repeats judges the requests of one push: the one behind the first that is silent.
func (v *verdict) repeats(all []apnssim.Entry, broken map[uint64]time.Time, journal []apnssim.Entry) {
	i := slices.IndexFunc(all, func(e apnssim.Entry) bool { return v.silent(e, broken) })
	if i >= 0 && crowded(journal, all[i], v.limits.Hedge) {
		return
	}
	if i < 0 || told(all[i]) || !v.waits(all[i], all[i].ReceivedAt.Add(v.limits.Hedge), len(all)) {
		return
	}
	switch silent := all[i]; {
	case i+1 == len(all):
		v.breaks("VoIP push %s of %s had no answer, and went out on no second path", silent.APNsID, clock(silent.ReceivedAt))
	case all[i+1].ReceivedAt.Sub(silent.ReceivedAt) > v.limits.Hedge:
		v.breaks("VoIP push %s had no answer, and went out again after %s", silent.APNsID, all[i+1].ReceivedAt.Sub(silent.ReceivedAt))
	case silent.Fault == apnssim.Blackhole && all[i+1].Conn == silent.Conn:
		v.breaks("VoIP push %s had no answer, and went out again on the same dead path", silent.APNsID)
	}
}

// crowded says that a request's repetition had to wait: another connection, which is new,
// has a request without answer all the time from before it was due, and APNs allows one
// stream until it has accepted a push there.
func crowded(journal []apnssim.Entry, silent apnssim.Entry, within time.Duration) bool {
	due := silent.ReceivedAt.Add(within)
	fresh := make(map[uint64]bool) // connections without an accepted push when it is due
	for _, e := range journal {
		if accepted := e.Verdict.Status == 200 && e.AnsweredAt.Before(due) && !e.AnsweredAt.IsZero(); accepted {
			fresh[e.Conn] = false
		} else if _, known := fresh[e.Conn]; !known {
			fresh[e.Conn] = true
		}
	}
	return slices.ContainsFunc(journal, func(e apnssim.Entry) bool {
		return e.Conn != silent.Conn && e.APNsID != silent.APNsID && fresh[e.Conn] && e.ReceivedAt.Before(due) &&
			(e.AnsweredAt.IsZero() || e.AnsweredAt.After(due))
	})
}

// told says that the server heard that a request is lost: its repetition is no hedge, and
// the last one where the first may have gone on its way.
func told(e apnssim.Entry) bool {
	return slices.Contains([]apnssim.Fault{apnssim.Reset, apnssim.Cut, apnssim.GoAway}, e.Fault)
}

// silent says that the server can have heard no answer to a request when its repetition is
// due.
func (v *verdict) silent(e apnssim.Entry, broken map[uint64]time.Time) bool {
	if at, lost := broken[e.Conn]; lost && at.Before(e.ReceivedAt) {
		return true
	}
	return e.AnsweredAt.IsZero() || e.AnsweredAt.Sub(e.ReceivedAt) > v.limits.Hedge
}

// waits says that the call of a push still needs it then, and that this is the server's
// first request for it: what a dead path, a refused handshake or the limit of streams kept
// from APNs is in no journal, or behind the hedge.
func (v *verdict) waits(e apnssim.Entry, then time.Time, came int) bool {
	var p struct {
		payload
		ExpiresAt int64 `json:"expires_at"`
	}
	if json.Unmarshal(e.Payload, &p) != nil {
		return false // it is judged elsewhere
	}
	id := uuidOf(p.UUID)
	rec := v.byUUID[id]
	if rec == nil || !then.Before(decided(rec, id)) || !then.Before(time.UnixMilli(p.ExpiresAt)) {
		return false
	}
	tries, begun, over := made(rec, id)
	return tries <= came && !over.Before(then) && e.ReceivedAt.Sub(begun) < v.limits.Hedge-v.limits.Wire &&
		!slices.ContainsFunc(v.away, span{e.ReceivedAt, then}.meets)
}

// made is how many requests the record counts for the VoIP push to the device with that
// UUID, when it was begun, and when it was over: an answer may still come over a path that
// dies.
func made(rec *bridge.Record, id string) (tries int, begun, over time.Time) {
	for _, a := range rec.Attempts {
		for _, p := range a.Pushes {
			if uuidOf(a.UUID) == id && p.Kind == "voip" {
				tries += p.Tries
				begun, over = p.At.Add(-time.Duration(p.LatencyMS)*time.Millisecond), p.At
			}
		}
	}
	return tries, begun, over
}

// unreached: a caller whose call no push brought to any device hears 480, and the record
// says why (I10).
func (v *verdict) unreached() {
	for i := range v.records {
		rec := &v.records[i]
		if rec.Result == bridge.Cancelled || len(rec.Attempts) == 0 || !slices.ContainsFunc(rec.Attempts, pushedInVain) {
			continue
		}
		if slices.ContainsFunc(rec.Attempts, func(a bridge.AttemptRecord) bool { return !pushedInVain(a) }) {
			continue
		}
		if rec.Status != 480 || rec.Reason == "" {
			v.breaks("call %s: no push was accepted, and the caller got %d (%q), want 480 with the reason", rec.ID, rec.Status, rec.Reason)
		}
	}
}

// pushedInVain says that no push to a device was accepted, and that nothing else brought
// it the call.
func pushedInVain(a bridge.AttemptRecord) bool {
	return len(a.Pushes) > 0 && a.Registered.IsZero() && a.Invited.IsZero() && !slices.ContainsFunc(a.Pushes, func(p bridge.PushRecord) bool { return p.Accepted })
}
