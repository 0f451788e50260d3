package srtp

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// Overhead is the most that a packet grows by, MKI aside: the tag of GCM, or that of
// HMAC and the index of SRTCP.
const Overhead = 24

// Sender protects what goes to one end. It belongs to one goroutine at a time.
//
// A relay passes sequence numbers on that it does not choose. Were one used twice
// under the same key and SSRC with different contents, both would be readable (RFC
// 3711 s9.1). So each is used once: a repeated packet is dropped, and a sender that
// begins anew gets another SSRC.
type Sender struct {
	context *srtp.Context
	header  rtp.Header
	out     []byte
	voices  []*voice
	names   senders // that RTP went out under
	control senders // and RTCP
}

// voice is one SSRC of the other leg.
type voice struct {
	ssrc    uint32 // as it came
	as      uint32 // as it goes out
	highest uint16
	used    uint64 // bit n: highest-n was used
	wrapped bool   // number 0 came after the first: the roll-over counter is not 0
	stray   uint16 // the last sequence number that was too old
	strays  int    // how many of them came in a row
}

// NewSender makes a Sender for a key that we named. The error wraps ErrSuite.
func NewSender(k Key) (*Sender, error) {
	c, err := k.context()
	if err != nil {
		return nil, err
	}
	return &Sender{context: c}, nil
}

// RTP protects a packet. The result is good until the next call. Errors:
// ErrReplayed, ErrSenders, ErrSpent.
func (s *Sender) RTP(pkt []byte) ([]byte, error) {
	if len(pkt) < rtpFixed {
		return nil, ErrAuth
	}
	v, err := s.voice(binary.BigEndian.Uint32(pkt[8:]))
	if err != nil {
		return nil, err
	}
	if fresh, restarted := v.take(binary.BigEndian.Uint16(pkt[2:])); !fresh {
		return nil, ErrReplayed
	} else if restarted {
		if err := s.rename(v); err != nil {
			return nil, err
		}
	}
	if v.as != v.ssrc {
		binary.BigEndian.PutUint32(pkt[8:], v.as)
	}
	out, err := s.context.EncryptRTP(s.room(len(pkt)), pkt, &s.header)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpent, err)
	}
	s.out = out
	return out, nil
}

// RTCP protects a compound packet; its index is the library's own and never comes
// again. Errors as RTP.
func (s *Sender) RTCP(pkt []byte) ([]byte, error) {
	if len(pkt) < rtcpFixed {
		return nil, ErrAuth
	}
	s.renameReports(pkt)
	ssrc := binary.BigEndian.Uint32(pkt[4:])
	if !s.control.room(ssrc) {
		return nil, ErrSenders
	}
	out, err := s.context.EncryptRTCP(s.room(len(pkt)), pkt, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSpent, err)
	}
	s.control.add(ssrc)
	s.out = out
	return out, nil
}

// room is a buffer for a packet of n octets.
func (s *Sender) room(n int) []byte {
	if want := n + Overhead + 128; cap(s.out) < want { // 128: the longest MKI
		s.out = make([]byte, 0, want)
	}
	return s.out[:0]
}

// voice finds a sender or makes it known.
func (s *Sender) voice(ssrc uint32) (*voice, error) {
	for i, v := range s.voices {
		if v.ssrc == ssrc {
			s.voices[0], s.voices[i] = v, s.voices[0] // who speaks is found at once
			return v, nil
		}
	}
	if len(s.voices) >= maxSenders {
		return nil, ErrSenders
	}
	v := &voice{ssrc: ssrc, as: ssrc}
	if s.names.has(ssrc) { // a voice that was renamed is called like this one
		v.as = s.newName()
	}
	if !s.names.room(v.as) {
		return nil, ErrSenders
	}
	s.names.add(v.as)
	s.voices = append(s.voices, v)
	return v, nil
}

// rename gives a voice that begins anew an SSRC of its own. Its old name stays
// taken: none may ever come again under this key.
func (s *Sender) rename(v *voice) error {
	name := s.newName()
	if !s.names.room(name) {
		return ErrSenders
	}
	s.names.add(name)
	v.as = name
	return nil
}

// newName is an SSRC that was not used yet.
func (s *Sender) newName() uint32 {
	for {
		var b [4]byte
		rand.Read(b[:])
		if name := binary.BigEndian.Uint32(b[:]); !s.names.has(name) {
			return name
		}
	}
}

// window is how far behind the newest a packet may be.
const window = 64

// take says whether a sequence number was never used, and notes it. restarted says
// that the sender begins anew: two that follow each other are both too old to be
// late. What lies before number 0 of the voice's first round has no index (RFC 3711
// s3.3.1); the library would take it for the far end of that round, and protect all
// that follows with a roll-over counter that nobody else has.
func (v *voice) take(seq uint16) (fresh, restarted bool) {
	if v.used == 0 {
		v.highest, v.used = seq, 1
		return true, false
	}
	ahead := int16(seq - v.highest) //nolint:gosec // serial number arithmetic, RFC 1982
	switch {
	case ahead > 0:
		v.used = v.used<<min(uint(ahead), window) | 1 //nolint:gosec // positive
		v.wrapped = v.wrapped || seq < v.highest
		v.highest, v.strays = seq, 0
		return true, false
	case ahead > -window && seq > v.highest && !v.wrapped:
		return false, false
	case ahead > -window:
		bit := uint64(1) << uint(-ahead) //nolint:gosec // 0 to 63
		fresh = v.used&bit == 0
		v.used |= bit
		return fresh, false
	}
	if v.strays > 0 && seq == v.stray+1 {
		v.highest, v.used, v.strays, v.wrapped = seq, 1, 0, false
		return true, true
	}
	v.stray, v.strays = seq, 1
	return false, false
}

// renameReports writes the names that this end knows into the packets of a compound:
// each begins with the SSRC of its author. What its reports are about keeps its
// name, which is the other direction's.
func (s *Sender) renameReports(pkt []byte) {
	for len(pkt) >= rtcpFixed {
		ssrc := binary.BigEndian.Uint32(pkt[4:])
		for _, v := range s.voices {
			if v.ssrc == ssrc && v.as != ssrc {
				binary.BigEndian.PutUint32(pkt[4:], v.as)
				break
			}
		}
		n := 4 * (int(binary.BigEndian.Uint16(pkt[2:])) + 1)
		if n > len(pkt) {
			return
		}
		pkt = pkt[n:]
	}
}
