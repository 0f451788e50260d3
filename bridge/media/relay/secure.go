package relay

import (
	"slices"
	"sync"

	"wakebridge/bridge/media/srtp"
)

// opener opens the SRTP of one stream's far end. The zero value is that of a plain
// stream.
type opener struct {
	on       bool
	key      srtp.Key
	receiver *srtp.Receiver // nil: a key that cannot be used, so nothing is authentic
	past     []opened
}

// opened is a key that the far end used before, and what was counted under it.
type opened struct {
	key      srtp.Key
	receiver *srtp.Receiver
}

// maxOpened is how many keys of the past are remembered.
const maxOpened = 8

// with is the opener for what signalling says now. Under the same key, what was
// counted goes on (RFC 3711 s3.3.1), also if the key was out of use for a while, as
// when a stream ends and comes back: else what was sent under it before could be
// played again.
func (o opener) with(r Remote) opener {
	secure := r.Secure != nil && !r.Datagram
	if o.on && secure && o.key.Equal(r.Secure.Theirs) {
		return o
	}
	if o.on {
		o.past = append(o.past, opened{o.key, o.receiver})
		o.past = o.past[max(0, len(o.past)-maxOpened):]
	}
	if !secure {
		return opener{past: o.past}
	}
	next := opener{on: true, key: r.Secure.Theirs, past: o.past}
	for i, old := range o.past {
		if old.key.Equal(next.key) {
			next.receiver, next.past = old.receiver, slices.Delete(slices.Clone(o.past), i, i+1)
			return next
		}
	}
	if receiver, err := srtp.NewReceiver(next.key); err == nil {
		next.receiver = receiver
	}
	return next
}

// open is what a packet holds, if it is authentic; pkt is spoilt.
func (o opener) open(rtcp bool, pkt []byte) (plain []byte, authentic bool) {
	if o.receiver == nil {
		return nil, false
	}
	var err error
	if rtcp {
		plain, err = o.receiver.RTCP(pkt)
	} else {
		plain, err = o.receiver.RTP(pkt)
	}
	return plain, err == nil
}

// sealer makes SRTP of what goes to one stream's far end. Its lock has no rival
// but for the moment in which a leg gets another partner.
type sealer struct {
	key srtp.Key

	mu     sync.Mutex
	sender *srtp.Sender // nil: a key that cannot be used, so nothing may go out
}

// resealed is the sealer for what signalling says now, old if the key stays; nil for
// plain RTP.
func resealed(old *sealer, r Remote) *sealer {
	switch {
	case r.Secure == nil || r.Datagram:
		return nil
	case old != nil && old.key.Equal(r.Secure.Ours):
		return old
	}
	next := &sealer{key: r.Secure.Ours}
	if sender, err := srtp.NewSender(next.key); err == nil {
		next.sender = sender
	}
	return next
}

// seal hands the protected packet to send, while it holds its buffer.
func (s *sealer) seal(rtcp bool, pkt []byte, send func([]byte) (Reason, bool)) (Reason, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sender == nil {
		return NotSealed, false
	}
	var out []byte
	var err error
	if rtcp {
		out, err = s.sender.RTCP(pkt)
	} else {
		out, err = s.sender.RTP(pkt)
	}
	if err != nil {
		return NotSealed, false
	}
	return send(out)
}
