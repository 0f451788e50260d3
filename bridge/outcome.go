package bridge

import (
	"cmp"
	"time"
)

// outcomeOf says what a final response (or, with noFlow, a transport failure) to
// the last standing INVITE of an attempt means. reached false: the device was
// not reached, so a REGISTER may still bring it an INVITE.
func outcomeOf(a *attempt, ev event, window time.Duration, now time.Time) (o outcome, reached bool) {
	switch {
	case ev.own:
		return ownFailure(ev), true
	case a.trunk:
		return trunkOutcome(a, ev), true
	}
	rang := !a.rangAt.IsZero()
	// Apps time out by declining: Linphone after 30 s, CallKit after 60.
	late := rang && now.Sub(a.rangAt) > window
	if ev.noFlow {
		return lostFlow(a, described("the device was not reached", ev)), false
	}
	switch ev.status {
	case 600, 603:
		if late {
			return noAnswer("nobody answered; the app gave up by declining"), true
		}
		return outcome{rank: rankDeclined, status: ev.status, reason: "declined by the user", callee: true}, true
	case 486:
		if late {
			return noAnswer("nobody answered; the app gave up as busy"), true
		}
		return outcome{rank: rankBusy, status: 486, reason: "the device is busy", callee: true}, true
	case 488, 415:
		return outcome{rank: rankUnacceptable, status: ev.status, phrase: ev.phrase, callee: true,
			reason: "the device accepts none of the offered media"}, true
	case 408, 430, 480, 503:
		if rang {
			return noAnswer("nobody answered"), true
		}
		o = unreachable(described("the device was not reached", ev))
		o.away = true
		return o, false
	}
	return unreachable(described("the device refused the call", ev)), true
}

// ownFailure is an INVITE that we could not make, or an answer that we cannot
// pass on: for lack of ports, or of a common codec.
func ownFailure(ev event) outcome {
	o := outcome{rank: rankUnreachable, status: ev.status, phrase: ev.phrase, reason: ev.reason}
	if ev.status == 488 || ev.status == 415 {
		o.rank = rankUnacceptable
	}
	return o
}

// lostFlow is what the loss of its connection makes of an attempt, if it does
// not come back.
func lostFlow(a *attempt, reason string) outcome {
	if !a.rangAt.IsZero() {
		return noAnswer("the connection to the device was lost while it rang")
	}
	return unreachable(reason)
}

// timedOut is what the end of the ringing time makes of an attempt.
func timedOut(a *attempt) outcome {
	switch {
	case a.outcome.rank != rankNone:
		return a.outcome
	case !a.rangAt.IsZero():
		return noAnswer("nobody answered")
	case a.trunk:
		return unreachable("the trunk did not ring in time")
	}
	return unreachable("the device did not ring in time")
}

func described(what string, ev event) string {
	if more := cmp.Or(ev.reason, ev.phrase); more != "" {
		return what + ": " + more
	}
	return what
}

func noAnswer(reason string) outcome {
	return outcome{rank: rankNoAnswer, status: 480, phrase: "No Answer", reason: reason}
}

func unreachable(reason string) outcome {
	return outcome{rank: rankUnreachable, status: 480, reason: reason}
}

// trunkOutcome passes a trunk's word on, but for what concerns only our dialog
// with it: 3xx is not followed, a challenge is not the caller's to answer.
func trunkOutcome(a *attempt, ev event) outcome {
	o := outcome{rank: rankRefused, status: ev.status, phrase: ev.phrase, callee: true}
	switch {
	case ev.noFlow:
		return unreachable(described("the trunk was not reached", ev))
	case ev.status == 486 || ev.status == 600:
		o.rank, o.reason = rankBusy, "busy"
	case ev.status == 603:
		o.rank, o.reason = rankDeclined, "declined"
	case (ev.status == 408 || ev.status == 480) && !a.rangAt.IsZero():
		o.rank, o.reason = rankNoAnswer, "nobody answered"
	case ev.status < 400, ev.status == 401, ev.status == 407, ev.status == 481, ev.status == 482:
		o.status, o.phrase, o.reason = 480, "", described("the trunk refused the call", ev)
	default:
		o.reason = described("the trunk refused the call", ev)
	}
	return o
}

// best is what the caller hears when nobody answers.
func best(attempts []attempt) outcome {
	o := outcome{status: 480, reason: "no device to ring"}
	for i := range attempts {
		if a := &attempts[i]; a.outcome.rank > o.rank {
			o = a.outcome
		}
	}
	return o
}
