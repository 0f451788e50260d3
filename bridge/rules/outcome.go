package rules

import (
	"cmp"
	"time"
)

// outcomeOf says what a final response (or, with noFlow, a transport failure) to
// the last standing INVITE of an attempt means. reached false: the device was
// not reached, so a REGISTER may still bring it an INVITE.
func outcomeOf(a *Attempt, ev Event, window time.Duration, now time.Time) (o Outcome, reached bool) {
	switch {
	case ev.Own:
		return ownFailure(ev), true
	case a.Trunk:
		return trunkOutcome(a, ev), true
	}
	rang := !a.rangAt.IsZero()
	// Apps time out by declining: Linphone after 30 s, CallKit after 60.
	late := rang && now.Sub(a.rangAt) > window
	if ev.NoFlow {
		return lostFlow(a, described("the device was not reached", ev)), false
	}
	switch ev.Status {
	case 600, 603:
		if late {
			return noAnswer("nobody answered; the app gave up by declining"), true
		}
		return Outcome{Rank: RankDeclined, status: ev.Status, reason: "declined by the user", Callee: true}, true
	case 486:
		if late {
			return noAnswer("nobody answered; the app gave up as busy"), true
		}
		return Outcome{Rank: RankBusy, status: 486, reason: "the device is busy", Callee: true}, true
	case 488, 415:
		return Outcome{Rank: RankUnacceptable, status: ev.Status, phrase: ev.Phrase, Callee: true,
			reason: "the device accepts none of the offered media"}, true
	case 408, 430, 480, 503:
		if rang {
			return noAnswer("nobody answered"), true
		}
		o = unreachable(described("the device was not reached", ev))
		o.away = true
		return o, false
	}
	if ev.Relayed && !rang { // for a device that it does not reach
		o = unreachable(described("the device was not reached", ev))
		o.away = true
		return o, false
	}
	return unreachable(described("the device refused the call", ev)), true
}

// ownFailure is an INVITE that we could not make, or an answer that we cannot
// pass on: for lack of ports, or of a common codec.
func ownFailure(ev Event) Outcome {
	o := Outcome{Rank: RankUnreachable, status: ev.Status, phrase: ev.Phrase, reason: ev.Reason}
	if ev.Status == 488 || ev.Status == 415 {
		o.Rank = RankUnacceptable
	}
	return o
}

// lostFlow is what the loss of its connection makes of an attempt, if it does
// not come back.
func lostFlow(a *Attempt, reason string) Outcome {
	if !a.rangAt.IsZero() {
		return noAnswer("the connection to the device was lost while it rang")
	}
	return unreachable(reason)
}

// timedOut is what the end of the ringing time makes of an attempt.
func timedOut(a *Attempt) Outcome {
	switch {
	case a.Outcome.Rank != RankNone:
		return a.Outcome
	case !a.rangAt.IsZero():
		return noAnswer("nobody answered")
	case a.Trunk:
		return unreachable("the trunk did not ring in time")
	}
	return unreachable("the device did not ring in time")
}

func described(what string, ev Event) string {
	if more := cmp.Or(ev.Reason, ev.Phrase); more != "" {
		return what + ": " + more
	}
	return what
}

func noAnswer(reason string) Outcome {
	return Outcome{Rank: RankNoAnswer, status: 480, phrase: "No Answer", reason: reason}
}

func unreachable(reason string) Outcome {
	return Outcome{Rank: RankUnreachable, status: 480, reason: reason}
}

// trunkOutcome passes a trunk's word on, but for what concerns only our dialog
// with it: 3xx is not followed, a challenge is not the caller's to answer.
func trunkOutcome(a *Attempt, ev Event) Outcome {
	o := Outcome{Rank: RankRefused, status: ev.Status, phrase: ev.Phrase, Callee: true}
	switch {
	case ev.NoFlow:
		return unreachable(described("the trunk was not reached", ev))
	case ev.Status == 486 || ev.Status == 600:
		o.Rank, o.reason = RankBusy, "busy"
	case ev.Status == 603:
		o.Rank, o.reason = RankDeclined, "declined"
	case (ev.Status == 408 || ev.Status == 480) && !a.rangAt.IsZero():
		o.Rank, o.reason = RankNoAnswer, "nobody answered"
	case ev.Status < 400, ev.Status == 401, ev.Status == 407, ev.Status == 481, ev.Status == 482:
		o.status, o.phrase, o.reason = 480, "", described("the trunk refused the call", ev)
	default:
		o.reason = described("the trunk refused the call", ev)
	}
	return o
}

// Best is what the caller hears when nobody answers.
func Best(attempts []Attempt) Outcome {
	o := Outcome{status: 480, reason: "no device to ring"}
	for i := range attempts {
		if a := &attempts[i]; a.Outcome.Rank > o.Rank {
			o = a.Outcome
		}
	}
	return o
}

// Told is what the record says of an attempt.
func (a *Attempt) Told() string {
	if a.Phase != won && a.Outcome.reason != "" {
		return a.Outcome.reason
	}
	return a.Phase.String()
}
