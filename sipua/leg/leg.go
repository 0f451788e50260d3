package leg

import (
	"context"
	"log/slog"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
)

// The timers of RFC 3261 s17.1.1.1.
const (
	t1     = 500 * time.Millisecond
	t2     = 4 * time.Second
	giveUp = 64 * t1
	// answersIn is how long the 487 may take behind the 200 to its CANCEL.
	answersIn = t2
)

// Config is what a leg needs of its owner. Endpoint, Post, Emit and Log are
// required.
type Config struct {
	Endpoint *sipua.Endpoint
	// Post runs f on the owner's goroutine, in the order of the calls. It never
	// waits and may be called from any goroutine.
	Post func(f func())
	// Emit gets the leg's events, on the owner's goroutine, never from inside a
	// verb.
	Emit func(l *Leg, e Event)
	Log  *slog.Logger
	// ContactUser is the user part of our Contact; "" for none.
	ContactUser string
	// MaxPending is how many messages of the peer may wait for the owner before
	// more requests get 503. Default: 16.
	MaxPending int
	// Credentials answer 401 and 407 to the requests of a UAC leg; only the peer
	// that the INVITE was sent to can challenge them. nil: a challenge is a failure.
	Credentials *digest.Client
	// Reach finds the flow for a request inside the dialog to next, the first Route or else
	// the remote target (RFC 3261 s12.2.1.1, s18.1.1). It is asked when the flow of the
	// dialog, now, is gone, or is a UDP one to somewhere else; the result may be now. It may
	// wait until ctx ends and is called in a goroutine of its own, also after Ended. After
	// an error the request goes over now. nil: requests go over the leg's flow only, as to
	// a device.
	Reach func(ctx context.Context, next sip.Uri, now *sipua.Flow) (*sipua.Flow, error)
}

// phase is where a leg is.
type phase uint8

const (
	calling     phase = iota + 1 // UAC: our INVITE has no final response
	offered                      // UAS: their INVITE has no final response
	established                  // there was a 2xx
	ended                        // only repetitions are still answered
)

// Leg is one INVITE dialog. Its methods are for the owner's goroutine.
type Leg struct {
	cfg   Config
	box   *mailbox
	inbox *inbox
	// parted: the owner got, or is about to get, Ended. From then on the leg runs
	// without it, and verbs may look at nothing but this.
	parted bool

	// taken is closed when the peer has answered our CANCEL: by the INVITE's final
	// response, or by the 200 to one that was said again.
	taken chan struct{}

	phase   phase
	d       dialog
	forget  func()          // takes back what was left at the flow
	invited *sipua.ServerTx // the INVITE, as UAS
	calls   *invitation     // the INVITE, as UAC
	unacked []*confirmation // 2xx of ours without ACK
	offers  offers          // re-INVITEs
	infos   infos
	bye     *goodbye  // a BYE that waits for an ACK
	said    *farewell // our BYE, sent or waiting
}

func newLeg(cfg Config) *Leg {
	if cfg.MaxPending <= 0 {
		cfg.MaxPending = 16
	}
	l := &Leg{cfg: cfg, taken: make(chan struct{}), box: &mailbox{post: cfg.Post, log: cfg.Log}}
	l.inbox = &inbox{leg: l}
	return l
}

// CallID is the dialog's Call-ID.
func (l *Leg) CallID() string { return l.d.callID }

// Tag is our tag of the dialog.
func (l *Leg) Tag() string { return l.d.localTag() }

// Flow is the flow that the leg uses now.
func (l *Leg) Flow() *sipua.Flow { return l.inbox.flow.Load() }

// Left is the flow that the leg used before SetFlow, nil if there was none.
func (l *Leg) Left() *sipua.Flow { return l.inbox.left.Load() }

// SetFlow continues the dialog on another flow of the same device or trunk, after
// FlowLost or because that flow is better. What answers an INVITE that waits goes there;
// a 2xx without ACK is sent there at once.
// Errors: ErrEnded, and ErrState while our INVITE has no final response (it went
// with its flow).
func (l *Leg) SetFlow(f *sipua.Flow) error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase == calling:
		return ErrState
	}
	l.moveTo(f)
	for _, c := range l.unacked {
		l.repeat(c)
	}
	return nil
}

// moveTo makes f the leg's flow.
func (l *Leg) moveTo(f *sipua.Flow) {
	if l.forget != nil {
		l.forget()
	}
	if l.d.flow != f {
		l.inbox.left.Store(l.d.flow)
	}
	l.d.flow = f
	l.inbox.flow.Store(f)
	if l.phase == offered {
		l.invited.MoveTo(f)
	}
	for _, c := range l.unacked {
		c.tx.MoveTo(f)
	}
	release := f.Hold()
	forget := f.OnClose(func(err error) {
		l.box.put(func() { l.flowGone(f, err) })
	})
	l.forget = func() {
		forget()
		release()
	}
}

func (l *Leg) flowGone(f *sipua.Flow, err error) {
	if f != l.d.flow || l.phase == ended {
		return
	}
	if l.phase == calling { // the INVITE's transaction reports it, as Failed
		return
	}
	l.tell(FlowLost{Err: err})
}

// Drop ends the leg in the way that fits its state: 500 to a waiting caller,
// CANCEL, or BYE. The owner may go away at once: the leg finishes without it, and
// its only further event is Ended. Drop may be called at any time, also twice.
func (l *Leg) Drop() {
	if l.parted {
		return
	}
	switch l.phase {
	case offered:
		l.dropInvite()
	case calling:
		l.wantCancel(nil)
		l.part()
		l.later(Ended{Cause: CauseCancelled})
	case established:
		l.hangUp(nil, CauseBye)
	}
}

// tell emits an event from a closure of the mailbox, and must be the last thing
// that the closure does: the owner may call verbs right there.
func (l *Leg) tell(events ...Event) {
	if l.parted {
		return
	}
	for _, e := range events {
		l.cfg.Emit(l, e)
	}
}

// conclude is tell for the last events.
func (l *Leg) conclude(events ...Event) {
	if l.part() {
		for _, e := range events {
			l.cfg.Emit(l, e)
		}
	}
}

// soon is tell for a verb: after it has returned.
func (l *Leg) soon(e Event) {
	l.box.put(func() { l.tell(e) })
}

// later emits the last events after the verb that ended the leg has returned.
func (l *Leg) later(events ...Event) {
	l.cfg.Post(func() {
		for _, e := range events {
			l.cfg.Emit(l, e)
		}
	})
}

// part makes the leg independent of its owner; false if it was already. Outside a
// closure of the mailbox nothing of the leg may be touched afterwards.
func (l *Leg) part() bool {
	if l.parted {
		return false
	}
	l.parted = true
	l.box.abandon()
	return true
}

// after runs f in the mailbox after d.
func (l *Leg) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { l.box.put(f) })
}

// leave ends everything but what must still be repeated. After our own BYE the
// dialog stays known for a while, so that a BYE that crosses it gets its 200.
func (l *Leg) leave(linger bool) {
	l.phase = ended
	if l.forget != nil {
		l.forget()
		l.forget = nil
	}
	for _, c := range l.unacked {
		c.stop()
	}
	l.unacked = nil
	if l.bye != nil {
		l.bye.paid()
		l.bye = nil
	}
	l.leaveOffers()
	l.leaveInfos()
	ep, id, tag := l.cfg.Endpoint, l.d.callID, l.d.localTag()
	if linger {
		time.AfterFunc(giveUp, func() { ep.RemoveDialog(id, tag) })
		return
	}
	ep.RemoveDialog(id, tag)
}

// response makes a response of ours; one that makes or refreshes a dialog says
// where we are and what works here (RFC 3261 s12.1.1, s13.3.1).
func (l *Leg) response(tx *sipua.ServerTx, status int, phrase string, body []byte, headers []sip.Header) *sip.Response {
	res := tx.NewResponse(status, phrase)
	if status > 100 && status < 300 {
		l.introduce(res, tx.Request.IsInvite())
	}
	for _, h := range headers {
		res.AppendHeader(h)
	}
	if len(body) > 0 {
		setBody(res, body, "")
	}
	return res
}

func (l *Leg) introduce(msg sip.Message, contact bool) {
	if contact {
		msg.AppendHeader(&sip.ContactHeader{Address: l.d.flow.Contact(l.cfg.ContactUser)})
	}
	msg.AppendHeader(sip.NewHeader("Allow", l.cfg.Endpoint.Allow()))
	if s := l.cfg.Endpoint.Supported(); s != "" {
		msg.AppendHeader(sip.NewHeader("Supported", s))
	}
}

func setBody(msg sip.Message, body []byte, contentType string) {
	if contentType == "" {
		contentType = "application/sdp"
	}
	ct := sip.ContentTypeHeader(contentType)
	msg.AppendHeader(&ct)
	msg.SetBody(body)
}
