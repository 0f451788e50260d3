package audio

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"

	"github.com/pion/rtp"
)

// keys are the digits of telephone events 0 to 15 (RFC 4733 s3.2). Nothing here is
// shared with package dtmf, which makes and reads the bridge's events: what tests hear
// by must be another's opinion.
const keys = "0123456789*#ABCD"

// How a key is sent: for 160 ms, then 80 ms of the source before the next.
const (
	keyFrames = 8
	keyGap    = 4
	// keyEnds is how often the end of a key is told, as packets get lost (RFC 4733
	// s2.5.1.4).
	keyEnds = 3
	// keyVolume is the level of the tone that is meant, in -dBm0.
	keyVolume = 10
)

// pressing are the keys that a Sender has to send.
type pressing struct {
	payloadType uint8
	queue       []byte // telephone events
	frame       int    // of the first of them, 0 to keyFrames+keyGap
	stamp       uint32 // when it began
}

// Press sends digits as telephone events of that payload type, one after the
// other, in place of the source; it only queues. Errors: ErrDigit, and then nothing
// is sent.
func (s *Sender) Press(payloadType uint8, digits string) error {
	events := make([]byte, 0, len(digits))
	for _, d := range strings.ToUpper(digits) {
		i := strings.IndexRune(keys, d)
		if i < 0 {
			return fmt.Errorf("%q: %w", d, ErrDigit)
		}
		events = append(events, byte(i))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.payloadType = payloadType
	s.keys.queue = append(s.keys.queue, events...)
	return nil
}

// key sends the next frame of the key that is down; down is false if none is, and
// the frame belongs to the source.
func (s *Sender) key(stream *rtpStream, to *net.UDPAddr) (down, open bool) {
	s.mu.Lock()
	k := &s.keys
	if len(k.queue) == 0 {
		s.mu.Unlock()
		return false, true
	}
	if k.frame == 0 {
		k.stamp = stream.timestamp
	}
	event, payloadType, stamp := k.queue[0], k.payloadType, k.stamp
	k.frame++
	frame := k.frame
	if frame == keyFrames+keyGap {
		k.queue, k.frame = k.queue[1:], 0
	}
	ssrc := s.sent.SSRC
	s.mu.Unlock()
	if frame > keyFrames {
		return false, true
	}
	payload := []byte{event, keyVolume, 0, 0}
	binary.BigEndian.PutUint16(payload[2:], uint16(frame*FrameSamples)) //nolint:gosec // at most keyFrames
	times := 1
	if frame == keyFrames {
		payload[1] |= 0x80 // its end
		times = keyEnds
	}
	for range times {
		p := rtp.Packet{Header: rtp.Header{Version: 2, Marker: frame == 1, PayloadType: payloadType, SSRC: ssrc,
			SequenceNumber: stream.sequence, Timestamp: stamp}, Payload: payload}
		stream.sequence++
		if !s.write(&p, to) {
			return true, false
		}
	}
	stream.timestamp += FrameSamples
	return true, true
}

// SetEvents says under which payload type telephone events come; 0: none do.
func (r *Receiver) SetEvents(payloadType uint8) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = payloadType
}

// Digits are the keys that were pressed so far.
func (r *Receiver) Digits() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.digits)
}

// press notes a key: all packets of one have its first timestamp.
func (r *Receiver) press(p *rtp.Packet) {
	if len(p.Payload) < 4 || int(p.Payload[0]) >= len(keys) || r.pressed && r.keyStamp == p.Timestamp {
		return
	}
	r.pressed, r.keyStamp = true, p.Timestamp
	r.digits = append(r.digits, keys[p.Payload[0]])
}
