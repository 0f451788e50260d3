package relay

import (
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// readPause is how long a reader rests after a read error that is not the end
// of its socket, so that a lasting error does not eat a core.
const readPause = 10 * time.Millisecond

// Sockets is the Engine with one reading goroutine per socket, over any
// net.PacketConn.
type Sockets struct {
	log    *slog.Logger
	mu     sync.Mutex
	open   map[*stream]struct{}
	closed bool
}

// NewSockets starts an engine without streams.
func NewSockets(log *slog.Logger) *Sockets {
	return &Sockets{log: log, open: make(map[*stream]struct{})}
}

// Open implements Engine.
func (e *Sockets) Open(pair Pair, o Options) (Stream, error) {
	s := &stream{
		engine:   e,
		socket:   [2]socket{newSocket(pair.RTP), newSocket(pair.RTCP)},
		first:    o.First,
		done:     make(chan struct{}),
		receiver: newReceiver(o.Past, time.Now(), o.Older...),
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, errors.Join(ErrClosed, pair.RTP.Close(), pair.RTCP.Close())
	}
	defer e.mu.Unlock()
	e.open[s] = struct{}{}
	// Stream.Close waits. Started under the lock, so that no Close that finds
	// the stream waits before there is somebody to wait for.
	s.readers.Go(func() { s.read(rtpChannel) })
	s.readers.Go(func() { s.read(rtcpChannel) })
	return s, nil
}

// Close implements Engine.
func (e *Sockets) Close() {
	e.mu.Lock()
	e.closed = true
	all := make([]*stream, 0, len(e.open))
	for s := range e.open {
		all = append(all, s)
	}
	e.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
}

func (e *Sockets) forget(s *stream) {
	e.mu.Lock()
	delete(e.open, s)
	e.mu.Unlock()
}

// stream is a Stream of Sockets.
type stream struct {
	engine  *Sockets
	socket  [2]socket // by channel
	first   func()
	readers sync.WaitGroup
	done    chan struct{}
	closing sync.Once

	mu       sync.Mutex // guards receiver; never held during I/O
	receiver *receiver

	sealer   *sealer // by mu
	voice    *voice  // by mu; nil: nothing was inserted yet
	partner  atomic.Pointer[stream]
	out      [2]atomic.Pointer[outlet] // to the far end, for RTP and RTCP; nil: nowhere
	sent     [2]counter
	unsent   [reasonCount]atomic.Uint64 // after acceptance
	faultLog sync.Once

	observed atomic.Pointer[observation] // nil: nobody looks
}

// outlet is where one kind of packet leaves a stream.
type outlet struct {
	via    channel
	to     *target
	sealer *sealer // nil: plain RTP
	voice  *voice  // nil: nothing was inserted yet, or it is no RTP
}

// counter is a Count that several readers add to.
type counter struct {
	packets, octets atomic.Uint64
}

func (c *counter) add(octets int) {
	c.packets.Add(1)
	c.octets.Add(uint64(octets)) //nolint:gosec // a length
}

func (c *counter) count() Count { return Count{Packets: c.packets.Load(), Octets: c.octets.Load()} }

// SetRemote implements Stream.
func (s *stream) SetRemote(r Remote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiver.setRemote(r)
	s.sealer = resealed(s.sealer, r)
	s.publish()
}

// Answered implements Stream.
func (s *stream) Answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiver.answer()
}

// Forward implements Stream.
func (s *stream) Forward(to Stream) {
	next, _ := to.(*stream) // nil and streams of a foreign engine: nowhere
	s.partner.Store(next)
}

// Tap implements Stream.
func (s *stream) Tap(t *Tap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiver.tap = newTap(t)
}

// publish tells senders where packets for the far end go now; mu is held.
func (s *stream) publish() {
	s.voice.knows(s.receiver.remote.EventTypes)
	rtp, rtcp := s.receiver.targets()
	via := rtcpChannel
	if s.receiver.remote.mux() {
		via = rtpChannel
	}
	s.setOut(0, rtpChannel, newTarget(rtp))
	s.setOut(1, via, newTarget(rtcp))
}

func (s *stream) setOut(kind int, via channel, to *target) {
	if to == nil {
		s.out[kind].Store(nil)
		return
	}
	o := &outlet{via: via, to: to, sealer: s.sealer}
	if kind == 0 && !s.receiver.remote.Datagram {
		o.voice = s.voice
	}
	s.out[kind].Store(o)
}

// read is the loop of one socket's goroutine.
func (s *stream) read(ch channel) {
	buf := make([]byte, maxPacket+1) // one more, so that a longer packet shows
	for {
		n, from, err := s.socket[ch].read(buf)
		if err != nil {
			if !s.tolerable(err) {
				return
			}
			continue
		}
		s.handle(ch, inbound{buf[:n], from, time.Now()})
	}
}

// tolerable waits a little after a read error and says whether to read on.
func (s *stream) tolerable(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	rest := time.NewTimer(readPause)
	defer rest.Stop()
	select {
	case <-s.done:
		return false
	case <-rest.C:
		return true
	}
}

// handle judges one packet and passes it on. A fault of ours costs this packet
// only (DESIGN s3, the recover barrier).
func (s *stream) handle(ch channel, in inbound) {
	defer func() {
		if fault := recover(); fault != nil {
			s.unsent[Fault].Add(1)
			s.faultLog.Do(func() {
				s.engine.log.Error("media packet dropped by a fault", "fault", fault, "stack", string(debug.Stack()))
			})
		}
	}()
	observed := s.observed.Load()
	if observed != nil {
		observed.keep(ch, in.pkt)
	}
	v := s.judge(ch, in)
	if observed != nil {
		observed.came(ch, in, v)
	}
	if !v.ok {
		return
	}
	if v.first && s.first != nil {
		s.first()
	}
	partner := s.partner.Load()
	reason, sent := s.pass(partner, v, in.at)
	if !sent {
		s.unsent[reason].Add(1)
	}
	if partner != nil {
		s.mu.Lock()
		s.receiver.went(partner, v, reason, sent)
		s.mu.Unlock()
	}
}

// pass gives an accepted packet to the partner, if there is one.
func (s *stream) pass(partner *stream, v verdict, at time.Time) (Reason, bool) {
	switch {
	case v.taken:
		return Converted, false
	case partner == nil:
		return NoDestination, false
	}
	if v.report.middle != 0 {
		partner.receiver.reports.told.add(v.report, at)
	}
	return partner.send(v.rtcp, v.pkt)
}

func (s *stream) judge(ch channel, in inbound) verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.receiver.receive(ch, in)
	if v.moved {
		s.publish()
	}
	return v
}

// send gives a packet to the far end.
func (s *stream) send(rtcp bool, pkt []byte) (Reason, bool) {
	kind := 0
	if rtcp {
		kind = 1
	}
	out := s.out[kind].Load()
	if out == nil {
		return NoDestination, false
	}
	if out.voice != nil && !out.voice.passes(pkt) {
		return Held, false
	}
	return s.deliver(rtcp, out, pkt)
}

// deliver seals a packet and writes it to a socket.
func (s *stream) deliver(rtcp bool, out *outlet, pkt []byte) (Reason, bool) {
	kind := 0
	if rtcp {
		kind = 1
	}
	plain := pkt
	write := func(pkt []byte) (Reason, bool) {
		if err := s.socket[out.via].write(pkt, out.to); err != nil {
			return SendFailed, false
		}
		s.sent[kind].add(len(pkt))
		if observed := s.observed.Load(); observed != nil {
			observed.sent(outgoing{out.via, out.to.at, rtcp, plain, pkt})
		}
		return 0, true
	}
	if out.sealer != nil {
		return out.sealer.seal(rtcp, pkt, write)
	}
	return write(pkt)
}

// Insert implements Stream.
func (s *stream) Insert(o Insert) *Insertion {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.voice == nil {
		s.voice = newVoice(now)
		s.publish()
	}
	return s.voice.begin(o, now, s.receiver.seq.ssrc, s.emit)
}

// emit sends a packet of the voice's own.
func (s *stream) emit(pkt []byte) (Reason, bool) {
	out := s.out[0].Load()
	if out == nil || out.voice == nil {
		return NoDestination, false
	}
	return s.deliver(false, out, pkt)
}

// Stats implements Stream.
func (s *stream) Stats() Stats {
	s.mu.Lock()
	all := s.receiver.snapshot()
	if s.voice != nil {
		all.Inserted = s.voice.inserted.Load()
	}
	s.mu.Unlock()
	all.Sent, all.SentRTCP = s.sent[0].count(), s.sent[1].count()
	for i := range s.unsent {
		all.Rejected[i] += s.unsent[i].Load()
	}
	return all
}

// Senders implements Stream.
func (s *stream) Senders() []Sender {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.receiver.senders.list()
}

// Close implements Stream.
func (s *stream) Close() {
	s.closing.Do(func() {
		close(s.done)
		s.partner.Store(nil)
		for _, k := range s.socket {
			if err := k.conn.Close(); err != nil {
				s.engine.log.Warn("media socket did not close", "address", k.conn.LocalAddr(), "error", err)
			}
		}
		s.engine.forget(s)
	})
	s.readers.Wait()
}
