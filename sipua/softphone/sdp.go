package softphone

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"wakebridge/bridge/media/audio"
)

// direction is that of a stream, as the one who says it sees it (RFC 3264 s5.1).
type direction string

const (
	sendrecv direction = "sendrecv"
	sendonly direction = "sendonly"
	recvonly direction = "recvonly"
	inactive direction = "inactive"
)

func (d direction) sends() bool    { return d == sendrecv || d == sendonly }
func (d direction) receives() bool { return d == sendrecv || d == recvonly }

// opposite is what must answer d at most (RFC 3264 s6.1).
func (d direction) opposite() direction {
	switch d {
	case sendonly:
		return recvonly
	case recvonly:
		return sendonly
	}
	return d
}

// both is what d and other have in common.
func (d direction) both(other direction) direction {
	sends, receives := d.sends() && other.sends(), d.receives() && other.receives()
	switch {
	case sends && receives:
		return sendrecv
	case sends:
		return sendonly
	case receives:
		return recvonly
	}
	return inactive
}

// remote is the peer's end of the stream, as its SDP has it.
type remote struct {
	addr      netip.AddrPort
	codec     audio.Codec
	events    string // payload type of telephone-event; "": it takes none
	key       master
	direction direction
}

func (r remote) known() bool { return r.direction != "" }

// listens says that the peer wants packets; 0.0.0.0 is the hold of RFC 2543.
func (r remote) listens() bool {
	return r.direction.receives() && r.addr.IsValid() && !r.addr.Addr().IsUnspecified() && r.addr.Port() != 0
}

// session is what o= says: one id, and a version that rises with each change.
type session struct {
	id, version uint64
	last        []byte // without the version
}

func newSession() session {
	return session{id: uint64(rand.Uint32()), version: 1}
}

// sign gives d its o= line and marshals it.
func (s *session) sign(d *sdp.SessionDescription) ([]byte, error) {
	d.Origin.SessionID, d.Origin.SessionVersion = s.id, 0
	bare, err := d.Marshal()
	if err != nil {
		return nil, fmt.Errorf("write SDP: %w", err)
	}
	if s.last != nil && !bytes.Equal(bare, s.last) {
		s.version++
	}
	s.last = bare
	d.Origin.SessionVersion = s.version
	body, err := d.Marshal()
	if err != nil {
		return nil, fmt.Errorf("write SDP: %w", err)
	}
	return body, nil
}

// ourEvents is the payload type of telephone-event in our offers.
const ourEvents = "101"

// events is the payload type that we offer, "" for none.
func (m *media) events() string {
	if m.phone.cfg.Audio.Keys == KeysInfo {
		return ""
	}
	return ourEvents
}

// offer makes an offer.
func (m *media) offer(d direction) ([]byte, error) {
	out := m.frame()
	formats := make([]string, 0, len(m.phone.cfg.Audio.Codecs)+1)
	for _, c := range m.phone.cfg.Audio.Codecs {
		formats = append(formats, strconv.Itoa(int(c)))
	}
	md := m.stream(formats, m.events(), d)
	if err := m.crypto.offer(md); err != nil {
		return nil, err
	}
	out.MediaDescriptions = []*sdp.MediaDescription{md}
	body, err := m.session.sign(out)
	if err != nil {
		return nil, err
	}
	m.ours = d
	m.hearKeys(m.events())
	return body, nil
}

// frame is a description without streams.
func (m *media) frame() *sdp.SessionDescription {
	family := "IP4"
	if m.local.Addr().Is6() {
		family = "IP6"
	}
	return &sdp.SessionDescription{
		Origin:                sdp.Origin{Username: "-", NetworkType: "IN", AddressType: family, UnicastAddress: m.local.Addr().String()},
		SessionName:           "-",
		ConnectionInformation: &sdp.ConnectionInformation{NetworkType: "IN", AddressType: family, Address: &sdp.Address{Address: m.local.Addr().String()}},
		TimeDescriptions:      []sdp.TimeDescription{{}},
	}
}

// stream is our audio stream; events is the payload type of telephone-event, ""
// for none.
func (m *media) stream(formats []string, events string, d direction) *sdp.MediaDescription {
	md := &sdp.MediaDescription{MediaName: sdp.MediaName{Media: "audio", Port: sdp.RangedPort{Value: int(m.local.Port())},
		Protos: []string{"RTP", "AVP"}, Formats: formats}}
	for _, f := range formats {
		n, err := strconv.Atoi(f)
		if err != nil {
			continue // ours are numbers
		}
		md.WithValueAttribute("rtpmap", fmt.Sprintf("%s %s/8000", f, audio.Codec(n))) //nolint:gosec // payload types are under 128
	}
	if events != "" {
		md.MediaName.Formats = append(md.MediaName.Formats, events)
		md.WithValueAttribute("rtpmap", events+" telephone-event/8000").WithValueAttribute("fmtp", events+" 0-15")
	}
	return md.WithValueAttribute("ptime", "20").WithPropertyAttribute(string(d))
}

// accept reads an offer and makes its answer: the first offered codec that is
// ours, in the first audio stream; other streams are refused (RFC 3264 s6).
// Errors wrap ErrMedia.
func (m *media) accept(offer []byte) ([]byte, error) {
	var d sdp.SessionDescription
	if err := d.Unmarshal(offer); err != nil {
		return nil, fmt.Errorf("read offer: %w: %w", ErrMedia, err)
	}
	out := m.frame()
	found := -1
	var peer remote
	for i, md := range d.MediaDescriptions {
		if found < 0 {
			if r, err := m.read(&d, md); err == nil {
				found, peer = i, r
			}
		}
		refused := &sdp.MediaDescription{MediaName: md.MediaName}
		refused.MediaName.Port = sdp.RangedPort{}
		out.MediaDescriptions = append(out.MediaDescriptions, refused)
	}
	if found < 0 {
		return nil, fmt.Errorf("offer of %d streams: %w", len(d.MediaDescriptions), ErrMedia)
	}
	want := sendrecv
	if m.holding {
		want = sendonly
	}
	ours := want.both(peer.direction.opposite())
	md := m.stream([]string{strconv.Itoa(int(peer.codec))}, peer.events, ours)
	if err := m.crypto.answer(md, peer.key); err != nil {
		return nil, err
	}
	out.MediaDescriptions[found] = md
	body, err := m.session.sign(out)
	if err == nil {
		err = m.crypto.agree(peer.key)
	}
	if err != nil {
		return nil, err
	}
	m.remote, m.ours = peer, ours
	m.hearKeys(peer.events)
	m.route()
	return body, nil
}

// settle reads the answer to our offer. Errors wrap ErrMedia.
func (m *media) settle(answer []byte) error {
	var d sdp.SessionDescription
	if err := d.Unmarshal(answer); err != nil {
		return fmt.Errorf("read answer: %w: %w", ErrMedia, err)
	}
	if len(d.MediaDescriptions) != 1 {
		return fmt.Errorf("answer of %d streams to an offer of one: %w", len(d.MediaDescriptions), ErrMedia)
	}
	peer, err := m.read(&d, d.MediaDescriptions[0])
	if err != nil {
		return err
	}
	if peer.direction != peer.direction.both(m.ours.opposite()) {
		return fmt.Errorf("%s in answer to %s: %w", peer.direction, m.ours, ErrMedia)
	}
	if err := m.crypto.offered(peer.key); err != nil {
		return err
	}
	if err := m.crypto.agree(peer.key); err != nil {
		return err
	}
	m.remote = peer
	m.route()
	return nil
}

var errStream = errors.New("not a stream of ours")

// read takes the peer's end from an audio stream.
func (m *media) read(d *sdp.SessionDescription, md *sdp.MediaDescription) (remote, error) {
	if md.MediaName.Media != "audio" || md.MediaName.Port.Value == 0 {
		return remote{}, fmt.Errorf("m=%s: %w: %w", md.MediaName.String(), ErrMedia, errStream)
	}
	c := md.ConnectionInformation
	if c == nil {
		c = d.ConnectionInformation
	}
	if c == nil || c.Address == nil {
		return remote{}, fmt.Errorf("no c=: %w", ErrMedia)
	}
	addr, err := netip.ParseAddr(c.Address.Address)
	if err != nil {
		return remote{}, fmt.Errorf("c=: %w: %w", ErrMedia, err)
	}
	codec, err := m.pick(md)
	if err != nil {
		return remote{}, err
	}
	key, err := m.crypto.read(md)
	if err != nil {
		return remote{}, err
	}
	return remote{key: key, addr: netip.AddrPortFrom(addr, uint16(md.MediaName.Port.Value)), codec: codec, events: m.theirEvents(md), direction: directionOf(d, md)}, nil //nolint:gosec // pion/sdp bounds ports
}

// pick takes the peer's first codec that is one of ours (RFC 3264 s6.1).
func (m *media) pick(md *sdp.MediaDescription) (audio.Codec, error) {
	for _, f := range md.MediaName.Formats {
		for _, c := range m.phone.cfg.Audio.Codecs {
			if f == strconv.Itoa(int(c)) {
				return c, nil
			}
		}
	}
	return 0, fmt.Errorf("formats %s: %w", strings.Join(md.MediaName.Formats, " "), ErrMedia)
}

func directionOf(d *sdp.SessionDescription, md *sdp.MediaDescription) direction {
	for _, attributes := range [][]sdp.Attribute{md.Attributes, d.Attributes} {
		for _, a := range attributes {
			switch dir := direction(a.Key); dir {
			case sendrecv, sendonly, recvonly, inactive:
				return dir
			}
		}
	}
	return sendrecv
}

// theirEvents is telephoneEvent if we take any.
func (m *media) theirEvents(md *sdp.MediaDescription) string {
	if m.phone.cfg.Audio.Keys == KeysInfo {
		return ""
	}
	return telephoneEvent(md)
}

// telephoneEvent is the payload type of telephone-event at 8 kHz (RFC 4733), "" if
// the stream has none.
func telephoneEvent(md *sdp.MediaDescription) string {
	for _, a := range md.Attributes {
		format, name, ok := strings.Cut(a.Value, " ")
		if a.Key == "rtpmap" && ok && strings.EqualFold(strings.TrimSpace(name), "telephone-event/8000") {
			return format
		}
	}
	return ""
}
