package softphone

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
)

// media is the audio of one call: a socket, a sender, a receiver, and what the two
// sides agreed on. It belongs to the loop; sender and receiver are goroutines.
type media struct {
	phone    *Phone
	socket   *socket
	crypto   *crypto
	local    netip.AddrPort // as the SDP shows it
	session  session
	sender   *audio.Sender
	receiver *audio.Receiver
	muted    atomic.Bool
	ctx      context.Context // ends with close
	cancel   context.CancelFunc

	stance
	remote  remote
	active  bool // audio may be sent
	running bool // the sender
}

// stance is what we want of the stream.
type stance struct {
	ours    direction // as we said last
	holding bool      // we hold the call
}

// stand takes a stance again, after the peer did not agree to another.
func (m *media) stand(s stance) {
	m.stance = s
	m.route()
}

// openMedia opens the call's socket and begins to record.
func (c *Call) openMedia(f *sipua.Flow) error {
	p := c.phone
	opened, local, err := p.openSocket(f)
	if err != nil {
		return fmt.Errorf("media socket: %w", err)
	}
	conn := &socket{conn: opened}
	m := &media{phone: p, socket: conn, crypto: newCrypto(p.cfg.Audio, conn), local: local, session: newSession(), stance: stance{ours: sendrecv}}
	m.ctx, m.cancel = context.WithCancel(p.ctx)
	m.receiver = audio.NewReceiver(m.crypto.conn, 0)
	m.sender = audio.NewSender(m.crypto.conn, p.cfg.Audio.Codecs[0], &mutable{source: p.cfg.Audio.Source(), muted: &m.muted})
	p.wg.Add(1)
	go func() { // awaited by Phone.Close
		defer p.wg.Done()
		if err := m.receiver.Run(m.ctx); err != nil {
			p.cfg.Log.Warn("receive audio", "error", err)
		}
		m.cancel()
		if err := conn.Close(); err != nil {
			p.cfg.Log.Debug("close media socket", "error", err)
		}
	}()
	c.mu.Lock()
	c.media = m
	c.mu.Unlock()
	return nil
}

// close ends the audio; what was measured stays.
func (m *media) close() { m.cancel() }

// start lets the audio go out.
func (m *media) start() {
	m.active = true
	m.route()
}

// route sends the audio where it belongs now, or nowhere.
func (m *media) route() {
	send := m.active && !m.holding && m.ours.sends() && m.remote.listens()
	if !send {
		m.sender.SetRemote(netip.AddrPort{})
		return
	}
	m.sender.SetCodec(m.remote.codec)
	m.sender.SetRemote(m.remote.addr)
	if m.running {
		return
	}
	m.running = true
	m.phone.wg.Add(1)
	go func() { // awaited by Phone.Close
		defer m.phone.wg.Done()
		if err := m.sender.Run(m.ctx); err != nil {
			m.phone.cfg.Log.Warn("send audio", "error", err)
		}
	}()
}

// wish is the direction that we would like now.
func (m *media) wish() direction {
	switch {
	case m.holding && m.peerHolds():
		return inactive
	case m.holding:
		return sendonly
	}
	return sendrecv
}

// peerHolds says that the peer listens no more.
func (m *media) peerHolds() bool { return m.remote.known() && !m.remote.listens() }

// mutable is a source that can be muted: its time passes.
type mutable struct {
	source audio.Source
	muted  *atomic.Bool
}

// Read implements audio.Source.
func (s *mutable) Read(samples []int16) (int, error) {
	n, err := s.source.Read(samples)
	if s.muted.Load() {
		clear(samples[:n])
	}
	return n, err
}

// Audio is what a call's audio came to so far.
type Audio struct {
	// Sent, Received and Lost are RTP packets; Lost are the gaps in what was
	// received.
	Sent, Received, Lost uint64
	// Refused are packets that were not authentic SRTP, Suite is the crypto suite in
	// use, "" for plain RTP.
	Refused uint64
	Suite   string
	// Level is that of what was received, in dBFS.
	Level float64
	// Codec is what was received.
	Codec audio.Codec
	// FirstSent, FirstReceived and LastReceived are zero while there was none.
	FirstSent, FirstReceived, LastReceived time.Time
	// Samples are what was received, at 8 kHz; lost packets are silence.
	Samples []int16
}

// Tone is the share of what was heard, 0 to 1, that lies at hz (see audio.Tone).
func (a Audio) Tone(hz float64) float64 { return audio.Tone(a.Samples, hz) }

// Audio measures the call's audio; before there is any all is zero and the level
// audio.Floor.
func (c *Call) Audio() Audio {
	m := c.mediaNow()
	if m == nil {
		return Audio{Level: audio.Floor}
	}
	sent, got := m.sender.Sent(), m.receiver.Received()
	a := Audio{Sent: sent.Packets, Received: got.Packets, Lost: got.Lost, Codec: audio.Codec(got.PayloadType), FirstSent: sent.First,
		FirstReceived: got.First, LastReceived: got.Last, Samples: m.receiver.Samples()}
	a.Suite, a.Refused = m.crypto.conn.state()
	a.Level = audio.Level(a.Samples)
	return a
}

// Heard is closed when the first packet of sound came; nil before there is a
// socket.
func (c *Call) Heard() <-chan struct{} {
	m := c.mediaNow()
	if m == nil {
		return nil
	}
	return m.receiver.Heard()
}
