package bridge

import "time"

// outcomeOf says what a final response (or, with noFlow, a transport failure) to
// the last standing INVITE of an attempt means. reached false: the device was
// not reached, so a REGISTER may still bring it an INVITE.
func outcomeOf(a *attempt, ev event, window time.Duration, now time.Time) (o outcome, reached bool) {
	rang := !a.rangAt.IsZero()
	// Apps time out by declining: Linphone after 30 s, CallKit after 60.
	late := rang && now.Sub(a.rangAt) > window
	if a.trunk {
		return trunkOutcome(ev), true
	}
	switch ev.status {
	case 600, 603:
		if late {
			return noAnswer("nobody answered; the app gave up by declining"), true
		}
		return outcome{rankDeclined, 603, "Decline", "declined by the user"}, true
	case 486:
		if late {
			return noAnswer("nobody answered; the app gave up as busy"), true
		}
		return outcome{rankBusy, 486, "Busy Here", "the device is busy"}, true
	case 488, 415:
		return outcome{rankUnacceptable, ev.status, ev.phrase, "the device accepts none of the offered media"}, true
	case 408, 430, 480, 503:
		if rang {
			return noAnswer("nobody answered"), true
		}
		return unreachable(described("the device was not reached", ev)), false
	}
	if ev.noFlow {
		if rang {
			return noAnswer("the connection to the device was lost while it rang"), false
		}
		return unreachable(described("the device was not reached", ev)), false
	}
	return unreachable(described("the device refused the call", ev)), true
}

func described(what string, ev event) string {
	switch {
	case ev.reason != "":
		return what + ": " + ev.reason
	case ev.phrase != "":
		return what + ": " + ev.phrase
	}
	return what
}

func noAnswer(reason string) outcome {
	return outcome{rankNoAnswer, 480, "No Answer", reason}
}

func unreachable(reason string) outcome {
	return outcome{rankUnreachable, 480, "Temporarily Unavailable", reason}
}

// trunkOutcome passes a trunk's word on, but for what concerns only our dialog
// with it: 3xx is not followed, a challenge is not the caller's to answer.
func trunkOutcome(ev event) outcome {
	switch {
	case ev.noFlow:
		return outcome{rankUnreachable, 480, "Temporarily Unavailable", described("the trunk was not reached", ev)}
	case ev.status == 486 || ev.status == 600:
		return outcome{rankBusy, ev.status, ev.phrase, "busy"}
	case ev.status == 603:
		return outcome{rankDeclined, ev.status, ev.phrase, "declined"}
	case ev.status < 400, ev.status == 401, ev.status == 407, ev.status == 481, ev.status == 482:
		return outcome{rankRefused, 480, "Temporarily Unavailable", described("the trunk refused the call", ev)}
	}
	return outcome{rankRefused, ev.status, ev.phrase, described("the trunk refused the call", ev)}
}

// best is what the caller hears when nobody answers.
func best(attempts []attempt) outcome {
	o := outcome{rankNone, 480, "Temporarily Unavailable", "no device to ring"}
	for _, a := range attempts {
		if a.outcome.rank > o.rank {
			o = a.outcome
		}
	}
	return o
}
