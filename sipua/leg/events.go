package leg

import (
	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// Event is what a leg tells its owner: one of the types below, by value.
type Event interface{ event() }

// Provisional is a 1xx to our INVITE, 100 too (UAC). After Cancel none is told.
type Provisional struct {
	Status   int
	Phrase   string
	Body     []byte
	Response *sip.Response
}

// Answered is the 2xx to our INVITE (UAC). Its ACK is sent, except when the INVITE
// had no body: then Body is an offer and Ack wants its answer.
type Answered struct {
	Body     []byte
	Response *sip.Response
	// AfterCancel: the 2xx crossed Cancel; the leg sends BYE and Ended follows.
	AfterCancel bool
}

// Failed is the end of our INVITE without a dialog (UAC). Ended follows.
type Failed struct {
	// Status is the final response's, or what sipua.Status makes of Err.
	Status   int
	Phrase   string
	Response *sip.Response // nil if there was none
	Err      error         // nil if there was a final response
	// BeforeProvisional: not even a 100 came.
	BeforeProvisional bool
	// FlowLost: the transport failed; whoever is behind it said nothing.
	FlowLost bool
}

// CancelWent says that a CANCEL which waited for a provisional response has left: the
// INVITE reached the device, or a proxy on the way to it (UAC).
type CancelWent struct{}

// CancelHeard says that the device took the CANCEL that CancelAgain sent (UAC). Failed
// or Answered still follows, soon.
type CancelHeard struct{}

// Cancelled says that the caller took its INVITE back, by CANCEL or by BYE (UAS).
// The leg has sent 487 already, and Ended follows.
type Cancelled struct {
	Reasons []string // values of Reason headers (RFC 3326)
}

// Confirmed is the ACK of a 2xx of ours. Body is empty, or the answer when our 2xx
// carried the offer.
type Confirmed struct {
	Body []byte
	// Reinvite: the 2xx was that of AnswerOffer, not of Answer.
	Reinvite bool
}

// Offer is a re-INVITE; AnswerOffer or RejectOffer must follow. An empty Body asks
// us for an offer.
type Offer struct {
	Body    []byte
	Request *sip.Request
}

// OfferWithdrawn says that the peer cancelled its re-INVITE before we answered. The
// session stays as it was.
type OfferWithdrawn struct{}

// OfferAnswered is the outcome of Reinvite. When Reinvite had no body, Body is an
// offer and Ack wants its answer.
type OfferAnswered struct {
	// Status is the final response's, or what sipua.Status makes of Err.
	Status int
	Phrase string
	Body   []byte
	Err    error
}

// Info is an INFO of the peer (RFC 6086), also before the INVITE is answered;
// AnswerInfo must follow.
type Info struct {
	ContentType string // as sent; "" without a body
	Body        []byte
	Request     *sip.Request
	tx          *sipua.ServerTx
}

// InfoAnswered is the outcome of the leg's Info.
type InfoAnswered struct {
	Number int // Info's
	// Status is the final response's, or what sipua.Status makes of Err.
	Status int
	Err    error
}

// FlowLost says that the leg's flow is gone while its dialog lives or its caller
// waits. SetFlow continues on another one. A 2xx without ACK is repeated there.
type FlowLost struct {
	Err error
}

// Ended is the last event of each leg, exactly once.
type Ended struct {
	Cause    Cause
	ByRemote bool
	Reasons  []string // values of the peer's Reason headers
}

// Cause says what ended a leg.
type Cause uint8

// The causes.
const (
	// CauseBye: a BYE ended the established dialog.
	CauseBye Cause = iota + 1
	// CauseAckTimeout: no ACK for our 2xx in 64*T1; the leg sent BYE.
	CauseAckTimeout
	// CauseRejected: we refused the INVITE.
	CauseRejected
	// CauseCancelled: the INVITE was taken back, by us or (ByRemote) by the caller.
	CauseCancelled
	// CauseFailed: our INVITE failed.
	CauseFailed
	// CausePeerGone: the peer knows the dialog no more, or did not respond within
	// it (RFC 3261 s12.2.1.2).
	CausePeerGone
)

// String names the cause for logs.
func (c Cause) String() string {
	names := [...]string{"", "bye", "ack-timeout", "rejected", "cancelled", "failed", "peer-gone"}
	if int(c) < len(names) {
		return names[c]
	}
	return ""
}

func (Provisional) event()    {}
func (Answered) event()       {}
func (CancelWent) event()     {}
func (CancelHeard) event()    {}
func (Failed) event()         {}
func (Cancelled) event()      {}
func (Confirmed) event()      {}
func (Offer) event()          {}
func (OfferWithdrawn) event() {}
func (OfferAnswered) event()  {}
func (Info) event()           {}
func (InfoAnswered) event()   {}
func (FlowLost) event()       {}
func (Ended) event()          {}
