package leg

import (
	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// cancellation is our CANCEL of an INVITE.
type cancellation struct {
	reasons []string
	sent    bool
	taken   bool // Taken is closed
}

// Cancel takes our INVITE back; reasons become Reason headers. The CANCEL waits for
// a provisional response (RFC 3261 s9.1). What comes of it is told: Failed with the
// INVITE's final response (487), or Answered with AfterCancel. Errors: ErrState,
// ErrEnded.
func (l *Leg) Cancel(reasons ...string) error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase != calling || l.calls.cancel != nil:
		return ErrState
	}
	l.wantCancel(reasons)
	return nil
}

func (l *Leg) wantCancel(reasons []string) {
	v := l.calls
	if v.cancel != nil {
		return
	}
	v.cancel = &cancellation{reasons: reasons}
	if v.heard {
		l.sendCancel(v)
	}
}

// sendCancel sends the CANCEL. An INVITE without final response 64*T1 after it is
// taken for cancelled (s9.1).
func (l *Leg) sendCancel(v *invitation) {
	if v.cancel.sent {
		return
	}
	v.cancel.sent = true
	req := v.tx.NewCancel(v.cancel.reasons...)
	if _, err := l.cfg.Endpoint.Request(v.tx.Flow(), req, func(res *sip.Response, err error) {
		if err != nil {
			l.cfg.Log.Debug("CANCEL without response", "error", err)
		}
	}); err != nil {
		l.cfg.Log.Info("CANCEL was not sent", "error", err)
	}
	v.timeout = l.after(giveUp, func() {
		v.tx.Terminate()
		if v.initial {
			l.failed(nil, sipua.ErrTimeout, l.tellLast)
			return
		}
		l.reinviteResponded(v, nil, sipua.ErrTimeout)
	})
}

// CancelAgain says our CANCEL once more over another flow of the same device, which may
// have lost the one that the INVITE went over. What matches a CANCEL is the branch, not
// the connection (RFC 3261 s9.2); a device that knows no such INVITE there says 481 and
// does nothing. CancelHeard follows if it took it and the owner is there; see Taken.
// Without a CANCEL nothing is said. Unlike a verb it may be called after Ended, and by any
// goroutine.
func (l *Leg) CancelAgain(f *sipua.Flow) {
	l.box.put(func() {
		v := l.calls
		if v == nil || v.cancel == nil || !v.cancel.sent || l.phase == established {
			return
		}
		if _, err := l.cfg.Endpoint.Request(f, v.tx.NewCancel(v.cancel.reasons...), func(res *sip.Response, _ error) {
			if res != nil && res.IsSuccess() {
				l.box.put(l.cancelHeard)
			}
		}); err != nil {
			l.cfg.Log.Info("CANCEL was not sent again", "flow", f, "error", err)
		}
	})
}

// Taken is closed when the peer has answered our CANCEL, by the final response to the
// INVITE, or by its 200 to a CancelAgain; if never, not. What Heard says is known by then.
// It may be asked for from any goroutine.
func (l *Leg) Taken() <-chan struct{} { return l.taken }

// wasTaken closes Taken, once.
func (l *Leg) wasTaken() {
	if v := l.calls; v != nil && v.cancel != nil && !v.cancel.taken {
		v.cancel.taken = true
		close(l.taken)
	}
}

// cancelHeard: the INVITE is over for the device, whose 487 may go down with the old flow.
func (l *Leg) cancelHeard() {
	l.wasTaken()
	if l.phase != calling {
		return
	}
	l.calls.timeout.Reset(answersIn)
	l.tell(CancelHeard{})
}
