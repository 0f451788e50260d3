package sdp

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// maxCrypto is how many usable a=crypto lines of a stream are read; there are six
// suites.
const maxCrypto = 32

// For how many packets a key must be good. When that is over, its author may send no
// more (RFC 3711 s9.2), and hardly any offers a new key in time. The 2^20 of RFC 4568's
// examples, which telephones repeat, are six hours of sound, but minutes of video.
const (
	minLifetimeAudio = 1 << 20
	minLifetime      = 1 << 24
)

// Crypto is one a=crypto line (RFC 4568) with a single master key and no parameter
// that changes the protection. As text it is its tag and suite, whatever the verb.
type Crypto struct {
	// Tag is 0 to 999999999, by which an answer names the line that it takes.
	Tag int
	// Suite is the name as sent, of a suite that need not be ours.
	Suite string
	// Secret is master key and master salt, at least 1 octet.
	Secret []byte
	// MKI is the master key identifier as each packet has it, at most 128 octets;
	// nil: packets have none.
	MKI []byte
	// Lifetime is how many packets the author may protect by the key, 0 if it does not
	// say: 2^48 then. Lines of ours do not say.
	Lifetime uint64
}

// Format implements fmt.Formatter.
func (c Crypto) Format(f fmt.State, _ rune) {
	io.WriteString(f, strconv.Itoa(c.Tag)+" "+c.Suite) //nolint:errcheck // as fmt does
}

// line is the attribute that says c.
func (c Crypto) line() string {
	s := "a=crypto:" + strconv.Itoa(c.Tag) + " " + c.Suite + " inline:" + base64.StdEncoding.EncodeToString(c.Secret)
	if len(c.MKI) > 0 {
		s += "|" + new(big.Int).SetBytes(c.MKI).String() + ":" + strconv.Itoa(len(c.MKI))
	}
	return s
}

// cryptos are the usable a=crypto lines of an m-line, in order, the first of each
// tag; shortLived says that some would be but for their lifetime.
func (m media) cryptos() (all []Crypto, shortLived bool) {
	least := uint64(minLifetime)
	if m.kind == "audio" {
		least = minLifetimeAudio
	}
	for _, line := range m.lines {
		if attribute(line) != "crypto" || len(all) == maxCrypto {
			continue
		}
		c, ok := parseCrypto(value(line))
		if ok && c.Lifetime > 0 && c.Lifetime < least {
			shortLived = true
			continue
		}
		if ok && !slices.ContainsFunc(all, func(o Crypto) bool { return o.Tag == c.Tag }) {
			all = append(all, c)
		}
	}
	return all, shortLived
}

// parseCrypto reads "tag suite key-params session-params" (RFC 4568 s9.1); ok is
// false for what is no such line, or one that asks for what we do not do: several
// keys, a key derivation rate, less than full protection.
func parseCrypto(v string) (Crypto, bool) {
	f := strings.Fields(v)
	if len(f) < 3 || len(f[0]) > 9 || !digits(f[0]) || !suiteName(f[1]) {
		return Crypto{}, false
	}
	tag, err := strconv.Atoi(f[0])
	if err != nil {
		return Crypto{}, false
	}
	for _, p := range f[3:] {
		if !harmless(p) {
			return Crypto{}, false
		}
	}
	c := Crypto{Tag: tag, Suite: f[1]}
	return c, c.readInline(f[2])
}

// harmless says that a session parameter changes nothing for us. One that nobody
// here knows may be passed over only if its author says so by a dash (s6.3.7).
func harmless(p string) bool {
	name, v, _ := strings.Cut(p, "=")
	switch strings.ToUpper(name) {
	case "KDR":
		return digits(v) && strings.Trim(v, "0") == ""
	case "WSH":
		return digits(v) // our window is as large as it is
	case "-UNENCRYPTED_SRTP", "-UNENCRYPTED_SRTCP", "-UNAUTHENTICATED_SRTP":
		return false // no extension, whatever its author thinks
	}
	return strings.HasPrefix(p, "-")
}

// readInline reads "inline:key|lifetime|mki:length", the latter two optional.
func (c *Crypto) readInline(s string) (ok bool) {
	const longest = 128 // characters of a key; that of AES-256 has 64
	method, info, _ := strings.Cut(s, ":")
	parts := strings.Split(info, "|")
	if !strings.EqualFold(method, "inline") || strings.Contains(info, ";") || len(parts) > 3 || len(parts[0]) > longest {
		return false
	}
	// Padding is to be discarded (s6.1), so that it may be missing as well.
	text := parts[0]
	for range 2 {
		text = strings.TrimSuffix(text, "=")
	}
	secret, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(secret) == 0 {
		return false
	}
	c.Secret = secret
	for i, p := range parts[1:] {
		value, length, isMKI := strings.Cut(p, ":")
		switch {
		case !isMKI && i == 0:
			c.Lifetime, ok = parseLifetime(p)
		case isMKI && i == len(parts)-2:
			c.MKI, ok = parseMKI(value, length)
		default:
			ok = false
		}
		if !ok {
			return false
		}
	}
	return true
}

// parseLifetime reads a number of packets, "1048576" or "2^20"; what is beyond 2^63 is
// that. None at all is no lifetime.
func parseLifetime(s string) (packets uint64, ok bool) {
	const most = 1 << 63
	number, isPower := strings.CutPrefix(s, "2^")
	if !digits(number) {
		return 0, false
	}
	n, err := strconv.ParseUint(number, 10, 64)
	switch {
	case err != nil || isPower && n > 63:
		return most, true
	case isPower:
		return 1 << n, true
	}
	return min(n, most), n > 0
}

// parseMKI makes the identifier as it stands in a packet: value as length octets.
func parseMKI(value, length string) ([]byte, bool) {
	const longest = 309 // digits of 128 octets
	n, err := strconv.Atoi(length)
	if err != nil || len(length) > 3 || !digits(length) || n < 1 || n > 128 || len(value) > longest || !digits(value) {
		return nil, false
	}
	v, ok := new(big.Int).SetString(value, 10)
	if !ok || v.BitLen() > 8*n {
		return nil, false
	}
	return v.FillBytes(make([]byte, n)), true
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func suiteName(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	}) < 0
}

// isDTLS says that a profile takes its keys from a handshake on the media path, or
// is TCP under TLS.
func isDTLS(proto string) bool { return strings.Contains(strings.ToUpper(proto), "TLS") }

// profile is proto with or without protection by keys of a=crypto: RTP/AVP and
// RTP/SAVP, RTP/AVPF and RTP/SAVPF. Others stay.
func profile(proto string, secure bool) string {
	p := strings.ToUpper(proto)
	switch {
	case isDTLS(p) || !isRTP(p) || isSecure(p) == secure:
		return proto
	case secure:
		return strings.Replace(p, "/AVP", "/SAVP", 1)
	}
	return strings.Replace(p, "/SAVP", "/AVP", 1)
}

// Without refuses streams of an offer as if they had come with port 0: those that
// refuse has an error for. The error is the first of them if no audio stream is left
// where there was one, or no stream at all.
func (d *Description) Without(refuse func(i int, s Stream) error) (*Description, error) {
	out := d.clone()
	var lost fault
	for i, s := range d.Streams() {
		if !s.Active() {
			continue
		}
		if err := refuse(i, s); err != nil {
			lost.note(d.media[i], err)
			out.media[i] = refused(d.media[i])
		}
	}
	if err := lost.check(out); err != nil {
		return nil, err
	}
	return out, nil
}

// As is what d came to on another leg, for Answers: with the profiles and keys of sent,
// which was made of it, and what sent refuses refused.
func (d *Description) As(sent *Description) *Description {
	out := d.clone()
	for i := range out.media {
		if i >= len(sent.media) {
			break
		}
		m, s := &out.media[i], sent.media[i]
		if m.proto = s.proto; s.port == 0 {
			m.port = 0
		}
		m.lines = append(unkeyed(m.lines), keep(s.lines, "crypto")...)
	}
	return out
}

// Plainly is d without the keys of those streams of a plain profile that refuse says:
// they are plain RTP then.
func (d *Description) Plainly(refuse func(i int, s Stream) bool) *Description {
	out := d.clone()
	for i, s := range d.Streams() {
		if s.IsOpportunistic() && refuse(i, s) {
			out.media[i].lines = unkeyed(out.media[i].lines)
		}
	}
	return out
}

// unkeyed are the lines but a=crypto.
func unkeyed(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return attribute(l) == "crypto" })
}
