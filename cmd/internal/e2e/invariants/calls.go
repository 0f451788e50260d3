package invariants

import (
	"slices"
	"strings"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua"
)

// callers: exactly one final response within the ringing time, no 200 before a
// device's, one record.
func (v *verdict) callers() {
	for _, in := range v.order {
		v.finals(in)
		if in.inside || len(in.finals) == 0 {
			continue
		}
		f := in.finals[0]
		rec := v.calls[in.callID]
		if late := f.at.Sub(in.at) - v.limits.Ring; late > v.limits.Final {
			v.breaks("call %s: the final response %d came %s after ring_timeout", in.callID, f.status, late)
		}
		if rec == nil {
			if owesRecord(f.status) {
				v.breaks("call %s was answered %d and has no record", in.callID, f.status)
			}
			continue
		}
		if f.status/100 == 2 {
			v.honest(in, f, rec)
		}
		if f.status != rec.Status && !challenge(f.status) && !v.repeated(in) {
			v.breaks("call %s was answered %d, its record says %d", in.callID, f.status, rec.Status)
		}
	}
}

// owesRecord says that a response is one of a call's, and no refusal of a request
// that never became one.
func owesRecord(status int) bool {
	return status/100 == 2 || slices.Contains([]int{480, 486, 487, 600, 603}, status)
}

func challenge(status int) bool { return status == 401 || status == 407 }

// repeated: several INVITEs had this Call-ID (after a challenge, or merged ones), and
// the record is of one of them.
func (v *verdict) repeated(in *invite) bool {
	n := 0
	for _, other := range v.order {
		if other.callID == in.callID && !other.inside && !challenge(other.status()) {
			n++
		}
	}
	return n > 1
}

func (in *invite) status() int {
	if len(in.finals) == 0 {
		return 0
	}
	return in.finals[0].status
}

// stopping says that the server was about to end then.
func (v *verdict) stopping(at time.Time) bool {
	return slices.ContainsFunc(v.away, span{at, at}.meets)
}

func (v *verdict) finals(in *invite) {
	switch {
	case len(in.finals) > 1:
		v.breaks("call %s: %d final responses to one INVITE: %d and %d", in.callID, len(in.finals), in.finals[0].status, in.finals[1].status)
	case len(in.finals) == 0 && !gone(in.flow) && !v.stopping(in.at): // else its answer went down with the server
		v.breaks("call %s: the INVITE of %s has no final response", in.callID, in.at.UTC().Format(time.TimeOnly))
	}
	if len(in.after) > 0 {
		v.breaks("call %s: a provisional response %d behind the final one", in.callID, in.after[0])
	}
}

// gone: nobody is there to hear. A trunk's call is answered over any connection.
func gone(f *sipua.Flow) bool {
	select {
	case <-f.Done():
		return f.Transport() != sipua.UDP
	default:
		return false
	}
}

// honest: the caller hears a 200 only behind one of a device or trunk of this call.
func (v *verdict) honest(in *invite, f final, rec *bridge.Record) {
	for _, a := range v.answers {
		if a.seq > f.seq {
			break
		}
		id, _, _ := strings.Cut(a.callID, "@")
		if mine := v.byUUID[uuidOf(id)]; mine != nil && mine.ID == rec.ID {
			return
		}
		if a.trunk && rec.Trunk != "" && v.byUUID[uuidOf(id)] == nil {
			return
		}
	}
	v.breaks("call %s: the caller got %d before any device answered", in.callID, f.status)
}

// attempts: a woken device gets its INVITE right after its REGISTER, or the fate of the
// call.
func (v *verdict) attempts() {
	for _, r := range v.records {
		decided := r.Ended
		if !r.Answered.IsZero() {
			decided = r.Answered
		}
		for _, a := range r.Attempts {
			missed := !a.Registered.IsZero() && a.Invited.IsZero() && !v.fates[uuidOf(a.UUID)]
			if d := decided.Sub(a.Registered); missed && d > v.limits.Invite {
				v.breaks("call %s: device %s registered and was neither invited nor told of a fate, %s before the call was decided", r.ID, a.Device, d)
			}
			if a.Registered.IsZero() || a.Invited.Before(a.Registered) {
				continue // invited before, over a connection that was alive, or never
			}
			if d := a.Invited.Sub(a.Registered); d > v.limits.Invite {
				v.breaks("call %s: device %s registered and was invited %s later", r.ID, a.Device, d)
			}
		}
		if r.Ended.IsZero() || r.Ended.Before(r.Started) {
			v.breaks("call %s: started %s, ended %s", r.ID, r.Started, r.Ended)
		}
	}
}
