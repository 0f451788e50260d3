package sdp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Relay says how a description goes to the other leg.
type Relay struct {
	// Addr is where that leg sends its media: ours, in its family. Required.
	Addr netip.Addr
	// Ports are ours by m-line. 0, or none for an m-line, refuses the stream.
	Ports []uint16
	// Allow filters and orders the codecs of audio streams, as configuration
	// spells them: opus, g722, alaw, ulaw, telephone-event, ... Empty: everything
	// passes.
	Allow []string
	// Mux keeps a=rtcp-mux. Else it is dropped and RTCP goes to the port after.
	Mux bool
	// Answer: the other leg offered. Then a=rtcp-mux is agreed, and a=rtcp names the port
	// of RTP; in an offer it is for whom does not mux (RFC 5761 s5.1.1).
	Answer bool
	// Crypto are our keys by m-line: a stream with some becomes RTP/SAVP, one with
	// none RTP/AVP, whatever its author offered (AVPF stays AVPF).
	Crypto [][]Crypto
	// Opportunistic m-lines have their keys under the profile of plain RTP (RFC 8643).
	Opportunistic []bool
}

// errNoAddr is a fault of the caller, not of the description.
var errNoAddr = errors.New("sdp: relay without an address")

// Relay makes the description that the other leg gets: our address and ports,
// streams in the same order, each refused one with port 0, and nothing that only
// concerns the path to the author (ICE, DTLS, keys, bundles, capability
// negotiation). A stream held by the address 0.0.0.0 or :: stays held that way, in
// the family of Addr. The o= line is empty until Origin.Sign.
//
// Streams that the relay cannot carry (TCP, DTLS, SRTP without a usable a=crypto
// line, keys for a profile that has no secure twin) are refused. If that or Allow leaves no audio where there was some (or no
// stream at all), the error is ErrSRTP or ErrNoCodec.
func (d *Description) Relay(r Relay) (*Description, error) {
	if !r.Addr.IsValid() {
		return nil, errNoAddr
	}
	r.Addr = r.Addr.Unmap().WithZone("")
	out := &Description{session: r.session(d.session), media: make([]media, len(d.media))}
	var lost fault
	for i, m := range d.media {
		var port uint16
		if i < len(r.Ports) {
			port = r.Ports[i]
		}
		var with protection
		if i < len(r.Crypto) {
			with.keys = r.Crypto[i]
		}
		with.opportunistic = i < len(r.Opportunistic) && r.Opportunistic[i]
		kept, err := r.stream(m.clone(), port, with)
		if err != nil {
			lost.note(m, err)
			kept = refused(m)
		}
		out.media[i] = kept
	}
	if err := lost.check(out); err != nil {
		return nil, err
	}
	return out, nil
}

// fault collects why streams were refused against the other leg's wish.
type fault struct {
	audio error // of the first audio stream
	any   error // of the first stream
}

func (f *fault) note(m media, err error) {
	if f.any == nil {
		f.any = err
	}
	if m.kind == "audio" && f.audio == nil {
		f.audio = err
	}
}

// check is nil as long as an audio stream is left, or there was none to lose and
// any other stream is left.
func (f *fault) check(out *Description) error {
	audio, any := false, false
	for _, m := range out.media {
		any = any || m.port != 0
		audio = audio || m.port != 0 && m.kind == "audio"
	}
	if f.audio != nil && !audio {
		return f.audio
	}
	if f.any != nil && !any {
		return f.any
	}
	return nil
}

// refused is the stream with port 0. Its attributes mean nothing then, and may
// name addresses.
func refused(m media) media {
	return media{kind: m.kind, proto: m.proto, formats: slices.Clone(m.formats)}
}

// protection is what one m-line gets.
type protection struct {
	keys          []Crypto
	opportunistic bool
}

// stream edits one m-line. An error refuses the stream.
func (r Relay) stream(m media, port uint16, with protection) (media, error) {
	if m.port == 0 || port == 0 {
		return refused(m), nil
	}
	if keys, _ := m.cryptos(); isDTLS(m.proto) || isSecure(m.proto) && len(keys) == 0 {
		return m, fmt.Errorf("%s: %w", m.proto, ErrSRTP)
	}
	if !isUDP(m.proto) {
		return m, fmt.Errorf("%s: %w", m.proto, ErrNoCodec)
	}
	if m.kind == "audio" && isRTP(m.proto) && len(r.Allow) > 0 {
		if m.allow(r.Allow); len(m.formats) == 0 {
			return m, ErrNoCodec
		}
	}
	secure := len(with.keys) > 0 && !with.opportunistic
	proto := profile(m.proto, secure)
	if secure && isRTP(proto) && !isSecure(proto) {
		return m, fmt.Errorf("%s has no secure profile: %w", proto, ErrSRTP) // rather than plain where keys were to be
	}
	m.port, m.proto = port, proto
	m.lines = insert(r.lines(m, with.keys), "i", r.connections(m.lines))
	return m, nil
}

// lines are those below an m-line, but for c=. Our keys come last.
func (r Relay) lines(m media, keys []Crypto) []string {
	keyed := len(keys) > 0 || slices.ContainsFunc(m.lines, func(l string) bool {
		return attribute(l) == "crypto" || attribute(l) == "fingerprint"
	})
	mux := r.Mux && m.muxed()
	var lines []string
	for _, line := range m.lines {
		name := attribute(line)
		switch {
		case line[0] == 'c', line[0] == 'k', isOfThePath(name):
		case strings.HasPrefix(name, "ssrc") && keyed:
		case strings.HasPrefix(name, "rtcp-mux") && !r.Mux:
		case name == "rtcp":
			if rtcp := rtcpPort(m.port, mux && r.Answer); rtcp != 0 {
				lines = append(lines, "a=rtcp:"+strconv.Itoa(int(rtcp)))
			}
		default:
			lines = append(lines, line)
		}
	}
	if isRTP(m.proto) {
		for _, k := range keys {
			lines = append(lines, k.line())
		}
	}
	return lines
}

// muxed says that the stream has RTP and RTCP on one port, or offers it.
func (m media) muxed() bool {
	return slices.ContainsFunc(m.lines, func(l string) bool { return attribute(l) == "rtcp-mux" })
}

func rtcpPort(port uint16, mux bool) uint16 {
	if mux {
		return port
	}
	return port + 1 // 0 after 65535
}

// allow keeps the codecs that words name, in their order, and drops the lines that
// speak of the others. Nothing is kept if only tones or comfort noise would be.
func (m *media) allow(words []string) {
	rank := make(map[string]int, len(words))
	for i, w := range words {
		if _, known := rank[codecName(w)]; !known {
			rank[codecName(w)] = i
		}
	}
	var kept []Codec
	speech := false
	for _, c := range m.codecs() {
		name := strings.ToLower(c.Name)
		if _, ok := rank[name]; ok && !slices.ContainsFunc(kept, func(k Codec) bool { return k.Format == c.Format }) {
			kept = append(kept, c)
			speech = speech || c.isSpeech()
		}
	}
	if !speech {
		kept = nil
	}
	sort.SliceStable(kept, func(i, j int) bool {
		return rank[strings.ToLower(kept[i].Name)] < rank[strings.ToLower(kept[j].Name)]
	})
	formats := make([]string, 0, len(kept))
	for _, c := range kept {
		formats = append(formats, c.Format)
	}
	m.setFormats(formats)
}

// setFormats replaces the formats and drops the lines that speak of one no longer
// there.
func (m *media) setFormats(formats []string) {
	m.formats = formats
	m.lines = slices.DeleteFunc(m.lines, func(line string) bool {
		f := formatOf(line)
		return f != "" && !slices.Contains(formats, f)
	})
}

// session edits the lines before the first m-line, and adds what RFC 8866 s5
// requires and senders forget.
func (r Relay) session(lines []string) []string {
	var out []string
	for _, line := range lines {
		name := attribute(line)
		switch {
		case line[0] == 'c', line[0] == 'k', line[0] == 'o', isOfThePath(name), name == "rtcp", strings.HasPrefix(name, "rtcp-mux"), strings.HasPrefix(name, "ssrc"):
		default:
			out = append(out, line)
		}
	}
	out = insert(out, "v", []string{"o=" + emptyOrigin(r.Addr)})
	if !hasType(out, 's') {
		out = insert(out, "vo", []string{"s=-"})
	}
	connections := r.connections(lines)
	if connections == nil {
		connections = []string{connection(r.Addr)}
	}
	out = insert(out, "vosiuep", connections)
	if !hasType(out, 't') {
		out = insert(out, "vosiuepcb", []string{"t=0 0"})
	}
	return out
}

// connections is the c= line that takes the place of those among lines: ours, or the
// one that holds the stream as theirs does; nil if there are none.
func (r Relay) connections(lines []string) []string {
	var last string
	for _, line := range lines {
		if line[0] == 'c' {
			last = line
		}
	}
	if last == "" {
		return nil
	}
	if addr, _, err := parseConnection(last); err == nil && addr.IsValid() && addr.IsUnspecified() {
		return []string{connection(unspecified(r.Addr))}
	}
	return []string{connection(r.Addr)}
}

func connection(a netip.Addr) string { return "c=" + family(a) + " " + a.String() }

// unspecified is the address of RFC 2543's hold in the family of a.
func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IN IP4"
	}
	return "IN IP6"
}

func hasType(lines []string, kind byte) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return l[0] == kind })
}

// insert puts more behind the last leading line whose type is among kinds.
func insert(lines []string, kinds string, more []string) []string {
	at := 0
	for at < len(lines) && strings.IndexByte(kinds, lines[at][0]) >= 0 {
		at++
	}
	return slices.Insert(lines, at, more...)
}

// isOfThePath says that an attribute describes how to reach or to key the author
// directly, or offers alternatives to what the lines say. We stand in between, so
// none of it is true for the other leg.
func isOfThePath(name string) bool {
	switch name {
	case "candidate", "remote-candidates", "end-of-candidates", "alt", "altc", // addresses
		"fingerprint", "setup", "connection", "tls-id", "direction", // DTLS, TCP
		"crypto", "key-mgmt", "zrtp-hash", // keys; packets of ZRTP are no RTP and do not pass
		"group", "mid", "msid", "msid-semantic", "bundle-only", // bundles
		"sqn", "cdsc", "cpar", "cparmin", "cparmax", // RFC 3407
		"csup", "creq", "acap", "tcap", "pcfg", "acfg", // RFC 5939
		"rmcap", "omcap", "mfcap", "mscap", "bcap", "lcfg", "sescap", // RFC 6871
		"ccap",                  // RFC 7006
		"source-filter", "path", // addresses again
		"oldmediaip", "oldmediaip6", "nortpproxy", "rtpengine": // what proxies leave for proxies on the same path
		return true
	}
	return strings.HasPrefix(name, "ice-")
}
