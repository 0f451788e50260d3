package audio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// Sent is what a Sender sent.
type Sent struct {
	Packets, Octets uint64 // octets of payload
	SSRC            uint32
	First, Last     time.Time // zero: none
}

// Sender sends a Source as RTP, a frame each 20 ms. Its methods may be called
// from any goroutine, also while it runs.
type Sender struct {
	conn   net.PacketConn
	source Source // Run's

	mu    sync.Mutex
	codec Codec
	to    *net.UDPAddr // nil: paused
	sent  Sent
	keys  pressing
}

// NewSender makes a sender that sends nothing until SetRemote and Run. The
// connection stays the caller's: a phone receives on it as well.
func NewSender(conn net.PacketConn, codec Codec, source Source) *Sender {
	return &Sender{conn: conn, codec: codec, source: source, sent: Sent{SSRC: rand.Uint32()}}
}

// SetRemote says where packets go; the zero AddrPort pauses: time passes, the
// source waits.
func (s *Sender) SetRemote(to netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !to.IsValid() {
		s.to = nil
		return
	}
	s.to = net.UDPAddrFromAddrPort(to)
}

// SetCodec changes the codec from the next packet on.
func (s *Sender) SetCodec(c Codec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codec = c
}

// Sent is what was sent so far.
func (s *Sender) Sent() Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// Run sends until the source ends, the connection is closed or ctx is done,
// which all give nil. The last frame is filled up with silence. Other errors
// are the source's. A packet that the network refuses is lost, as any other.
// Run may be called once.
func (s *Sender) Run(ctx context.Context) error {
	tick := time.NewTicker(FrameTime)
	defer tick.Stop()
	pace := NewPacer(time.Now())
	stream := rtpStream{sequence: uint16(rand.Uint32()), timestamp: rand.Uint32(), marker: true}
	for {
		due, skipped := pace.Due(time.Now())
		stream.timestamp += uint32(skipped) * FrameSamples
		for range due {
			more, err := s.frame(&stream)
			if err != nil || !more {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// rtpStream is the header state between two frames.
type rtpStream struct {
	sequence  uint16
	timestamp uint32
	marker    bool // begins a talk spurt (RFC 3551 s4.1)
}

// frame sends one frame; more is false at the end of the source or connection.
func (s *Sender) frame(stream *rtpStream) (more bool, err error) {
	s.mu.Lock()
	to, codec := s.to, s.codec
	s.mu.Unlock()
	if to == nil {
		stream.timestamp += FrameSamples
		stream.marker = true
		return true, nil
	}
	if down, open := s.key(stream, to); down {
		return open, nil
	}
	var samples [FrameSamples]int16
	n, err := fill(s.source, samples[:])
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read sound: %w", err)
	}
	more = err == nil
	if n == 0 {
		return more, nil
	}
	p := rtp.Packet{
		Header: rtp.Header{
			Version: 2, Marker: stream.marker, PayloadType: uint8(codec), SSRC: s.Sent().SSRC,
			SequenceNumber: stream.sequence, Timestamp: stream.timestamp,
		},
		Payload: codec.Encode(nil, samples[:]),
	}
	stream.sequence++
	stream.timestamp += FrameSamples
	stream.marker = false
	return s.write(&p, to) && more, nil
}

// write sends a packet; open is false when the connection is closed. One that the
// network refuses is lost.
func (s *Sender) write(p *rtp.Packet, to *net.UDPAddr) (open bool) {
	b, err := p.Marshal()
	if err != nil {
		return false // its header is ours and always fits
	}
	if _, err := s.conn.WriteTo(b, to); err != nil {
		return !errors.Is(err, net.ErrClosed)
	}
	s.count(len(p.Payload))
	return true
}

// fill reads until the frame is full or the source ends.
func fill(source Source, samples []int16) (n int, err error) {
	for n < len(samples) && err == nil {
		var m int
		m, err = source.Read(samples[n:])
		n += m
	}
	return n, err
}

func (s *Sender) count(octets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.sent.Packets == 0 {
		s.sent.First = now
	}
	s.sent.Last = now
	s.sent.Packets++
	s.sent.Octets += uint64(octets)
}
