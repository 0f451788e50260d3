package relay

import (
	"encoding/binary"
	"net/netip"
)

// Sender is a source of RTP: where it sends from and its SSRC. The zero value
// is nobody.
type Sender struct {
	Source netip.AddrPort
	SSRC   uint32
}

// senders are those who sent to one stream and may not stop when it ends.
type senders struct {
	learned  [2]Sender // accepted, newest first: far ends move, and change their SSRC
	stranger Sender    // the newest one that was refused
}

// learn notes who sent an accepted RTP packet.
func (s *senders) learn(by Sender) {
	if by != s.learned[0] {
		s.learned[0], s.learned[1] = by, s.learned[0]
	}
}

// list is those there were, newest first, the one that was refused last.
func (s *senders) list() []Sender {
	var all []Sender
	for _, by := range [...]Sender{s.learned[0], s.learned[1], s.stranger} {
		if by.Source.IsValid() {
			all = append(all, by)
		}
	}
	return all
}

// ssrcOf is the SSRC of what may be RTP, or of the author of what may be RTCP; SRTP has
// them in the clear.
func ssrcOf(pkt []byte) (uint32, bool) {
	switch {
	case looksRTCP(pkt) && len(pkt) >= rtcpFixed:
		return binary.BigEndian.Uint32(pkt[4:]), true
	case !looksRTCP(pkt) && len(pkt) >= rtpFixed:
		return binary.BigEndian.Uint32(pkt[8:]), true
	}
	return 0, false
}
