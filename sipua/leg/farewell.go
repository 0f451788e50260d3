package leg

import (
	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// farewell is our BYE until the peer has answered it, or for good if it never does.
type farewell struct {
	reasons  []string
	strange  bool // it got a 481
	answered chan struct{}
}

func newFarewell(reasons []string) *farewell {
	return &farewell{reasons: reasons, answered: make(chan struct{})}
}

func (f *farewell) isHeard() bool {
	select {
	case <-f.answered:
		return true
	default:
		return false
	}
}

// heard notes an answer, whatever it says: who knows no such dialog has none on its
// screen either. But a phone that has just come back may say so (481) because its new
// connection is not that of its call yet: it is believed the second time.
func (f *farewell) heard(status int) {
	if status == sip.StatusCallTransactionDoesNotExists && !f.strange {
		f.strange = true
		return
	}
	if !f.isHeard() {
		close(f.answered)
	}
}

// Heard is closed when the peer has answered our BYE, whatever it said; by 481 twice. It is nil if
// we sent none, because the peer did or there was no dialog. It is known, and may be
// asked for from any goroutine, once Ended was told.
func (l *Leg) Heard() <-chan struct{} {
	if l.said == nil {
		return nil
	}
	return l.said.answered
}

// ByeAgain says our BYE once more over another flow of the same device, which may
// have lost the one before it heard it. A BYE that waits for an ACK goes on waiting,
// and the 2xx is repeated there. Unlike a verb it is for after Ended, and for any
// goroutine.
func (l *Leg) ByeAgain(f *sipua.Flow) {
	l.box.put(func() {
		switch {
		case l.said == nil || l.said.isHeard():
		case l.phase == ended:
			l.d.flow = f
			l.inbox.flow.Store(f)
			l.sendBye(l.said.reasons)
		default:
			l.moveTo(f)
			for _, c := range l.unacked {
				l.repeat(c)
			}
		}
	})
}
