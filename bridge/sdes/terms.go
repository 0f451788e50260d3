package sdes

import (
	"errors"

	"wakebridge/bridge/sdp"
)

// Policy says whether a kind of peer speaks SRTP.
type Policy uint8

// The policies (media.srtp).
const (
	Off      Policy = iota // plain RTP is offered, SRTP refused
	Optional               // SRTP is offered first; what is offered is answered
	Required               // plain RTP is neither offered nor taken
)

// Terms are section media.srtp of the configuration.
type Terms struct {
	Apps, Trunks Policy
	// AnyTransport lets keys go over signalling that others can read; else TLS only.
	AnyTransport bool
}

// refusal is a 488 with a phrase for the peer's display.
type refusal struct{ phrase, text string }

func (e *refusal) Error() string { return e.text }

// SIPStatus is the status of the response.
func (*refusal) SIPStatus() int { return 488 }

// Errors that others of the bridge meet as well. All are answered 488.
var (
	// ErrOpen: keys would go where others can read them.
	ErrOpen error = &refusal{"SRTP Keys Need TLS", "SRTP keys may not go over this transport (media.srtp.keys_over: tls)"}
	// ErrShort: the peer's keys are used up too soon.
	ErrShort error = &refusal{"SRTP Key Lifetime Too Short", "the peer's SRTP keys are good for too few packets (the lifetime in a=crypto: 2^20 for sound, 2^24 for video)"}
	// ErrKeys: an answer's keys are not for what was offered.
	ErrKeys error = &refusal{"SRTP Keys Unusable", "the a=crypto is none that was offered, or our own"}
)

var (
	errPlain error = &refusal{"SRTP Required", "the peer offers plain RTP, but media.srtp requires SRTP"}
	errClear error = &refusal{"SRTP Required", "a stream that is not RTP has no protection, but media.srtp requires SRTP"}
	errOff   error = &refusal{"SRTP Not Allowed", "the peer offers SRTP only, but media.srtp is off for it"}
	errTwice error = &refusal{"SRTP Offered Too", "the stream stands twice in the offer, with keys and without"}
)

// Phrase is the reason phrase that an error of this package asks for, "" for the standard
// one.
func Phrase(err error) string {
	if e := (*refusal)(nil); errors.As(err, &e) {
		return e.phrase
	}
	return ""
}

// policy is that for an app or for a trunk.
func (t Terms) policy(app bool) Policy {
	if app {
		return t.Apps
	}
	return t.Trunks
}

// MayTell says that keys may be written into signalling that is private (over TLS), or not.
func (t Terms) MayTell(private bool) bool {
	return t.AnyTransport || private
}

// Admit refuses those streams of a peer's offer that the policy does not take. The
// error says why none is left. Plain RTP that offers keys (RFC 8643) keeps them only if
// they are taken. A stream that is offered twice, with protection and without, for the
// peer to be told which (FreeSWITCH and telephones do so where SRTP is optional), is one:
// the protected one if it is taken.
func (t Terms) Admit(offer *sdp.Description, app, private bool) (*sdp.Description, error) {
	usable := func(st sdp.Stream) bool {
		_, ok := strongest(st.Crypto)
		return ok && t.policy(app) != Off && t.MayTell(private)
	}
	offer = offer.Plainly(func(_ int, st sdp.Stream) bool { return !usable(st) })
	streams := offer.Streams()
	return offer.Without(func(i int, st sdp.Stream) error {
		if err := t.takes(st, app, private); err != nil {
			return err
		}
		for j, other := range streams {
			same := j != i && other.Active() && other.IsRTP() && other.Media == st.Media && other.Port == st.Port && other.Addr == st.Addr
			if same && !st.IsSecure() && other.IsSecure() && t.takes(other, app, private) == nil {
				return errTwice
			}
		}
		return nil
	})
}

// takes is nil for a stream of a peer's offer that the policy takes.
func (t Terms) takes(st sdp.Stream, app, private bool) error {
	policy := t.policy(app)
	switch {
	case !st.IsRTP() && policy == Required:
		return errClear
	case !st.IsRTP():
		return nil
	case !st.IsSecure() && policy == Required:
		return errPlain
	case !st.IsSecure():
		return nil
	case policy == Off:
		return errOff
	case !t.MayTell(private):
		return ErrOpen
	}
	if _, ok := strongest(st.Crypto); ok {
		return nil
	}
	if st.ShortLived {
		return ErrShort
	}
	return sdp.ErrSRTP
}

// Protected refuses those streams of an offer to a peer that cannot be protected, fax by
// T.38 for instance, if the policy requires that. The error says why none is left.
func (t Terms) Protected(offer *sdp.Description, app bool) (*sdp.Description, error) {
	if t.policy(app) != Required {
		return offer, nil
	}
	return offer.Without(func(_ int, st sdp.Stream) error {
		if !st.IsRTP() {
			return errClear
		}
		return nil
	})
}

// Offers says how a peer is called: with SRTP, and whether plain RTP may follow if
// it refuses that.
func (t Terms) Offers(app, private bool) (secure, orPlain bool, err error) {
	switch policy := t.policy(app); {
	case policy == Off:
		return false, false, nil
	case t.MayTell(private):
		return true, policy == Optional, nil
	case policy == Required:
		return false, false, ErrOpen
	}
	return false, false, nil
}
