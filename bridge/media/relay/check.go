package relay

import (
	"encoding/binary"

	"github.com/pion/rtp"
)

const (
	// maxPacket is the longest packet that is relayed, in octets of UDP payload.
	maxPacket = 1500
	rtpFixed  = 12 // RFC 3550 s5.1
	rtcpFixed = 8  // header and SSRC, RFC 3550 s6.4
)

// looksRTCP tells RTCP from RTP on one port (RFC 5761 s4): the RTCP packet
// types 192 to 223 read as payload types 64 to 95.
func looksRTCP(pkt []byte) bool {
	return len(pkt) >= 2 && pkt[1]&0x7f >= 64 && pkt[1]&0x7f <= 95
}

// checkRTP reads an RTP header into h and says whether the packet is whole
// (RFC 3550 s5.1, appendix A.1). h is reused so that nothing is allocated.
func checkRTP(h *rtp.Header, pkt []byte) bool {
	if len(pkt) < rtpFixed || pkt[0]>>6 != 2 {
		return false
	}
	n, err := h.Unmarshal(pkt)
	if err != nil || n > len(pkt) {
		return false
	}
	if h.Padding {
		pad := int(pkt[len(pkt)-1])
		return pad > 0 && pad <= len(pkt)-n
	}
	return true
}

// checkRTCP walks a compound packet: version 2, an RTCP type, lengths that add up,
// and room for as many blocks as it announces (RFC 3550 s6.4 to s6.6, appendix A.2; a
// first packet other than SR or RR is allowed by RFC 5506).
func checkRTCP(pkt []byte) bool {
	if len(pkt) < rtcpFixed || len(pkt)%4 != 0 {
		return false
	}
	for len(pkt) > 0 {
		if len(pkt) < 4 || pkt[0]>>6 != 2 || pkt[1] < 192 || pkt[1] > 223 {
			return false
		}
		n := 4 * (int(binary.BigEndian.Uint16(pkt[2:4])) + 1)
		if n > len(pkt) || n < leastRTCP(pkt[1], int(pkt[0]&0x1f)) {
			return false
		}
		pkt = pkt[n:]
	}
	return true
}

// leastRTCP is how many octets an RTCP packet of a type has at least with count
// blocks, sources or chunks.
func leastRTCP(kind byte, count int) int {
	switch kind {
	case 200: // sender report
		return 28 + 24*count
	case 201: // receiver report
		return 8 + 24*count
	case 202, 203: // source description, goodbye
		return 4 + 4*count
	}
	return 4
}

// payloadTypes is a set of payload types.
type payloadTypes struct {
	low, high uint64
}

// newPayloadTypes is the set of the types agreed; of none agreed, all but 72 to
// 76, which RFC 3551 s6 keeps free so that RTCP is not mistaken for RTP.
func newPayloadTypes(agreed []uint8) payloadTypes {
	if len(agreed) == 0 {
		return payloadTypes{low: ^uint64(0), high: ^uint64(0) &^ (0x1f << (72 - 64))}
	}
	return setOf(agreed)
}

// setOf is the set of just these types.
func setOf(types []uint8) payloadTypes {
	var p payloadTypes
	for _, t := range types {
		switch {
		case t < 64:
			p.low |= 1 << t
		case t < 128:
			p.high |= 1 << (t - 64)
		}
	}
	return p
}

func (p payloadTypes) has(t uint8) bool {
	if t < 64 {
		return p.low&(1<<t) != 0
	}
	return p.high&(1<<(t&63)) != 0
}
