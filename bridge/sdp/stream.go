package sdp

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Direction is who sends, seen from the author of the description (RFC 8866 s6.7).
type Direction uint8

// The directions; sendrecv is what a description without any means.
const (
	SendRecv Direction = iota
	SendOnly
	RecvOnly
	Inactive
)

// String is the attribute's name.
func (d Direction) String() string {
	return [...]string{"sendrecv", "sendonly", "recvonly", "inactive"}[d&3]
}

func parseDirection(name string) (Direction, bool) {
	for d := SendRecv; d <= Inactive; d++ {
		if name == d.String() {
			return d, true
		}
	}
	return SendRecv, false
}

// Stream is the view of one m-line.
type Stream struct {
	// Media is the type: audio, video, image, text, application, message, ...
	Media string
	// Port is where the author receives; 0 refuses or ends the stream.
	Port uint16
	// Proto is the profile, for example "RTP/AVP" or "udptl".
	Proto string
	// Formats are payload types for RTP, else what the profile defines ("t38").
	Formats []string
	// Addr is where the author receives, from the stream's c= line or the
	// session's. Invalid if there is none or it is a host name (then Host). It is
	// unspecified (0.0.0.0, ::) for the old form of hold.
	Addr netip.Addr
	Host string
	// RTCP is where the author receives RTCP unless both sides agreed on RTCPMux:
	// a=rtcp (RFC 3605), else the port after Port. Its address may be invalid like
	// Addr.
	RTCP netip.AddrPort
	// RTCPMux: offers or accepts RTP and RTCP on one port, Target (RFC 5761).
	RTCPMux bool
	// Direction is the stream's, else the session's.
	Direction Direction
	// Codecs are in the order of Formats, for RTP only.
	Codecs []Codec
	// Crypto are the keys of an RTP stream that can be used, in order. Those of a plain
	// profile offer protection to whom knows of it (RFC 8643).
	Crypto []Crypto
	// ShortLived: there are keys that are good for too few packets (2^20 of sound, 2^24 of
	// anything else); Crypto is without them.
	ShortLived bool

	params map[string]string // a=fmtp by format, for RTP only
}

// Streams are the m-lines in order.
func (d *Description) Streams() []Stream {
	var base Stream
	base.read(d.session)
	streams := make([]Stream, 0, len(d.media))
	for _, m := range d.media {
		s := base
		s.Media, s.Port, s.Proto, s.Formats = m.kind, m.port, m.proto, slices.Clone(m.formats)
		s.RTCP = netip.AddrPort{}
		s.read(m.lines)
		s.finishRTCP()
		if s.IsRTP() {
			s.Codecs, s.params = m.codecs(), m.params()
			if !isDTLS(s.Proto) {
				s.Crypto, s.ShortLived = m.cryptos()
			}
		}
		streams = append(streams, s)
	}
	return streams
}

// read takes connection, direction and RTCP from lines.
func (s *Stream) read(lines []string) {
	for _, line := range lines {
		if line[0] == 'c' {
			// Parse let only readable c= lines in.
			s.Addr, s.Host, _ = parseConnection(line) //nolint:errcheck // see above
			continue
		}
		switch name := attribute(line); name {
		case "rtcp-mux":
			s.RTCPMux = true
		case "rtcp":
			s.RTCP = parseRTCP(value(line))
		default:
			if dir, ok := parseDirection(name); ok {
				s.Direction = dir
			}
		}
	}
}

// parseRTCP reads "port" or "port IN IP4 address"; zero if it is neither.
func parseRTCP(v string) netip.AddrPort {
	f := strings.Fields(v)
	if len(f) == 0 {
		return netip.AddrPort{}
	}
	port, err := parsePort(f[0])
	if err != nil {
		return netip.AddrPort{}
	}
	var addr netip.Addr
	if len(f) == 4 {
		addr = parseAddr(f[3])
	}
	return netip.AddrPortFrom(addr, port)
}

func (s *Stream) finishRTCP() {
	switch {
	case s.Port == 0 || !s.IsRTP():
		s.RTCP = netip.AddrPort{}
	case s.RTCP.Port() == 0 && s.Port < 65535:
		s.RTCP = netip.AddrPortFrom(s.Addr, s.Port+1)
	case !s.RTCP.Addr().IsValid():
		s.RTCP = netip.AddrPortFrom(s.Addr, s.RTCP.Port())
	}
}

// IsRTP says that the profile is RTP, plain or secure.
func (s Stream) IsRTP() bool { return isRTP(s.Proto) }

// IsSecure says that the profile is SRTP or anything else over DTLS or TLS, or that there
// are keys for a plain one.
func (s Stream) IsSecure() bool { return isSecure(s.Proto) || len(s.Crypto) > 0 }

// IsOpportunistic says that there are keys, but the profile is that of plain RTP: who
// knows nothing of RFC 8643 answers in the clear.
func (s Stream) IsOpportunistic() bool { return !isSecure(s.Proto) && len(s.Crypto) > 0 }

// Active says that the stream is neither refused nor ended.
func (s Stream) Active() bool { return s.Port != 0 }

// Held says that the author does not want media now: sendonly (it plays music) or
// inactive, or the address 0.0.0.0 of RFC 2543.
func (s Stream) Held() bool {
	return s.Active() && (s.Direction == SendOnly || s.Direction == Inactive || s.unspecified())
}

func (s Stream) unspecified() bool { return s.Addr.IsValid() && s.Addr.IsUnspecified() }

// Sends says that the author may send on the stream.
func (s Stream) Sends() bool {
	return s.Active() && (s.Direction == SendRecv || s.Direction == SendOnly)
}

// Receives says that the author expects media on the stream.
func (s Stream) Receives() bool {
	return s.Active() && !s.unspecified() && (s.Direction == SendRecv || s.Direction == RecvOnly)
}

// Target is where to send the stream's media; invalid while there is nowhere
// (refused, held by 0.0.0.0, a host name).
func (s Stream) Target() netip.AddrPort {
	if !s.Active() || !s.Addr.IsValid() || s.unspecified() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(s.Addr, s.Port)
}

// PayloadTypes are the formats of an RTP stream as numbers, 0 to 127.
func (s Stream) PayloadTypes() []uint8 {
	if !s.IsRTP() {
		return nil
	}
	var types []uint8
	for _, f := range s.Formats {
		if n, err := strconv.ParseUint(f, 10, 7); err == nil {
			types = append(types, uint8(n))
		}
	}
	return types
}

// Held says that every active stream of the description is held, and there is one.
func (d *Description) Held() bool {
	any := false
	for _, s := range d.Streams() {
		if s.Active() && !s.Held() {
			return false
		}
		any = any || s.Active()
	}
	return any
}

// Directions are the streams' directions in order; Inactive for refused ones.
func (d *Description) Directions() []Direction {
	var all []Direction
	for _, s := range d.Streams() {
		if !s.Active() {
			s.Direction = Inactive
		}
		all = append(all, s.Direction)
	}
	return all
}

func isRTP(proto string) bool { return strings.Contains(strings.ToUpper(proto), "RTP/") }

func isSecure(proto string) bool {
	p := strings.ToUpper(proto)
	return strings.Contains(p, "SAVP") || strings.Contains(p, "TLS")
}

// isUDP says that a relay of datagrams can carry the profile.
func isUDP(proto string) bool { return !strings.HasPrefix(strings.ToUpper(proto), "TCP") }
