package leg

import "github.com/emiago/sipgo/sip"

// Resend sends our INVITE once more at once, if it is still without a 1xx and went
// over UDP: the callee has just shown life, and may have missed it. Errors: ErrEnded,
// ErrState after the final response, and those of sending.
func (l *Leg) Resend() error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase != calling || l.calls.tx == nil:
		return ErrState
	case l.calls.heard: // a challenge that was answered counts as a new INVITE
		return nil
	}
	return l.calls.tx.Resend()
}

// Probe asks the peer of an established dialog whether it knows it still, by OPTIONS: an
// app that was started anew says 481, and the leg ends with CausePeerGone and a BYE. It is
// believed the second time (see ByeAgain); any other answer, and none, changes nothing.
// Errors: ErrState, ErrEnded.
func (l *Leg) Probe() error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase != established:
		return ErrState
	}
	l.probe(false)
	return nil
}

func (l *Leg) probe(again bool) {
	req := l.d.request(sip.OPTIONS)
	l.authorize(req)
	l.ask(&question{req: req, done: func(res *sip.Response, err error) {
		switch {
		case err != nil, res.StatusCode != sip.StatusCallTransactionDoesNotExists, l.phase != established, l.parted:
		case again:
			l.sendBye(nil)
			l.leave(true)
			l.conclude(Ended{Cause: CausePeerGone})
		default:
			l.after(t1, func() {
				if l.phase == established && !l.parted {
					l.probe(true)
				}
			})
		}
	}})
}
