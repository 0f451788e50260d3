package srtp

import (
	"encoding/binary"
	"slices"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// maxSenders is how many SSRCs may share one key. A phone has one or two, but there are
// some that take a new one with each hold, and a PBX has one for each queue, tone and
// agent of a long call.
const maxSenders = 256

// Receiver opens what one end sends. It belongs to one goroutine at a time.
type Receiver struct {
	context *srtp.Context
	header  rtp.Header
	known   senders // of RTP
	control senders // of RTCP
}

// NewReceiver makes a Receiver for the key that the far end named as its own. The
// error wraps ErrSuite.
func NewReceiver(k Key) (*Receiver, error) {
	c, err := k.context()
	if err != nil {
		return nil, err
	}
	return &Receiver{context: c}, nil
}

// RTP opens a packet in place: the result is the beginning of pkt, which is spoilt
// otherwise. Errors: ErrAuth, ErrSenders.
func (r *Receiver) RTP(pkt []byte) ([]byte, error) {
	if len(pkt) < rtpFixed {
		return nil, ErrAuth
	}
	ssrc := binary.BigEndian.Uint32(pkt[8:])
	if !r.known.room(ssrc) {
		return nil, ErrSenders
	}
	plain, err := r.context.DecryptRTP(pkt, pkt, &r.header)
	if err != nil {
		return nil, ErrAuth // the library's text is about a packet that nobody vouches for
	}
	r.known.add(ssrc)
	return plain, nil
}

// RTCP opens a compound packet in place. Errors as RTP.
func (r *Receiver) RTCP(pkt []byte) ([]byte, error) {
	if len(pkt) < rtcpFixed {
		return nil, ErrAuth
	}
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	if !r.control.room(ssrc) {
		return nil, ErrSenders
	}
	plain, err := r.context.DecryptRTCP(pkt, pkt, nil)
	if err != nil {
		return nil, ErrAuth // the library's text is about a packet that nobody vouches for
	}
	r.control.add(ssrc)
	return plain, nil
}

// Octets that a packet has at least.
const (
	rtpFixed  = 12
	rtcpFixed = 8
)

// senders are the SSRCs that a key was used with.
type senders struct {
	list []uint32
	last uint32 // that was added, or found
}

func (s *senders) has(ssrc uint32) bool {
	return len(s.list) > 0 && s.last == ssrc || slices.Contains(s.list, ssrc)
}

// room says that ssrc is known or may become so.
func (s *senders) room(ssrc uint32) bool { return len(s.list) < maxSenders || s.has(ssrc) }

func (s *senders) add(ssrc uint32) {
	if !s.has(ssrc) {
		s.list = append(s.list, ssrc)
	}
	s.last = ssrc
}
