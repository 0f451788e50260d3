package relay

import (
	"errors"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// wired is a Stream of Workers. What its worker alone touches is guarded by the
// worker's lock; what other workers read, because they send from this stream's
// sockets, is atomic.
type wired struct {
	engine  *Workers
	worker  *worker
	index   int    // of the worker
	fd      [2]int // by channel
	family  uint16
	first   func()
	closing sync.Once

	receiver *receiver // by worker.mu
	sealer   *sealer   // by worker.mu
	voice    *voice    // by worker.mu; nil: nothing was inserted yet
	partner  *wired    // by worker.mu
	unsent   [reasonCount]uint64
	faulted  bool

	out  [2]atomic.Pointer[departure] // to the far end, for RTP and RTCP; nil: nowhere
	sent [2]counter

	observed atomic.Pointer[observation] // nil: nobody looks
}

// departure is where one kind of packet leaves a stream.
type departure struct {
	fd     int
	via    channel
	to     rawAddr
	sealer *sealer // nil: plain RTP
	voice  *voice  // nil: nothing was inserted yet, or it is no RTP
}

// SetRemote implements Stream.
func (s *wired) SetRemote(r Remote) {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.receiver.setRemote(r)
	s.sealer = resealed(s.sealer, r)
	s.publish()
}

// Answered implements Stream.
func (s *wired) Answered() {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.receiver.answer()
}

// Forward implements Stream.
func (s *wired) Forward(to Stream) {
	next, _ := to.(*wired) // nil and streams of a foreign engine: nowhere
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.partner = next
}

// Tap implements Stream.
func (s *wired) Tap(t *Tap) {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	s.receiver.tap = newTap(t)
}

// publish tells senders where packets for the far end go now. The worker's lock is
// held.
func (s *wired) publish() {
	if s.fd[rtpChannel] < 0 {
		return // closed
	}
	s.voice.knows(s.receiver.remote.EventTypes)
	rtp, rtcp := s.receiver.targets()
	via := rtcpChannel
	if s.receiver.remote.mux() {
		via = rtpChannel
	}
	s.setOut(0, rtpChannel, rtp)
	s.setOut(1, via, rtcp)
}

func (s *wired) setOut(kind int, via channel, to netip.AddrPort) {
	if !to.IsValid() {
		s.out[kind].Store(nil)
		return
	}
	raw, ok := newRawAddr(to, s.family)
	if !ok {
		s.out[kind].Store(nil) // the other family's, or a zone that is gone
		return
	}
	d := &departure{fd: s.fd[via], via: via, to: raw, sealer: s.sealer}
	if kind == 0 && !s.receiver.remote.Datagram {
		d.voice = s.voice
	}
	s.out[kind].Store(d)
}

// handle judges one packet and passes it on. A fault of ours costs this packet
// only (DESIGN s3, the recover barrier).
func (s *wired) handle(ch channel, in inbound) {
	defer func() {
		if fault := recover(); fault != nil {
			s.unsent[Fault]++
			if !s.faulted {
				s.faulted = true
				s.engine.log.Error("media packet dropped by a fault", "fault", fault, "stack", string(debug.Stack()))
			}
		}
	}()
	observed := s.observed.Load()
	if observed != nil {
		observed.keep(ch, in.pkt)
	}
	v := s.receiver.receive(ch, in)
	if v.moved {
		s.publish()
	}
	if observed != nil {
		observed.came(ch, in, v)
	}
	if !v.ok {
		return
	}
	if v.first && s.first != nil {
		s.first()
	}
	reason, sent := s.pass(v, in.at)
	if !sent {
		s.unsent[reason]++
	}
	if s.partner != nil {
		s.receiver.went(s.partner, v, reason, sent)
	}
}

// pass gives an accepted packet to the partner.
func (s *wired) pass(v verdict, at time.Time) (Reason, bool) {
	switch {
	case v.taken:
		return Converted, false
	case s.partner == nil:
		return NoDestination, false
	}
	if v.report.middle != 0 {
		s.partner.receiver.reports.told.add(v.report, at)
	}
	return s.partner.send(v.rtcp, v.pkt)
}

// send gives a packet to the far end. It runs on the partner's worker.
func (s *wired) send(rtcp bool, pkt []byte) (Reason, bool) {
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
func (s *wired) deliver(rtcp bool, out *departure, pkt []byte) (Reason, bool) {
	kind := 0
	if rtcp {
		kind = 1
	}
	plain := pkt
	write := func(pkt []byte) (Reason, bool) {
		if errno := transmit(out.fd, pkt, &out.to); errno != 0 {
			return SendFailed, false
		}
		s.sent[kind].add(len(pkt))
		if observed := s.observed.Load(); observed != nil {
			observed.sent(outgoing{out.via, out.to.netip(), rtcp, plain, pkt})
		}
		return 0, true
	}
	if out.sealer != nil {
		return out.sealer.seal(rtcp, pkt, write)
	}
	return write(pkt)
}

// Insert implements Stream.
func (s *wired) Insert(o Insert) *Insertion {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	now := time.Now()
	if s.voice == nil {
		s.voice = newVoice(now)
		s.publish()
	}
	return s.voice.begin(o, now, s.receiver.seq.ssrc, s.emit)
}

// emit sends a packet of the voice's own. It runs on any goroutine, under the
// voice's lock: Close waits for that.
func (s *wired) emit(pkt []byte) (Reason, bool) {
	out := s.out[0].Load()
	if out == nil || out.voice == nil {
		return NoDestination, false
	}
	return s.deliver(false, out, pkt)
}

// Stats implements Stream.
func (s *wired) Stats() Stats {
	s.worker.mu.Lock()
	all := s.receiver.snapshot()
	for i, n := range s.unsent {
		all.Rejected[i] += n
	}
	if s.voice != nil {
		all.Inserted = s.voice.inserted.Load()
	}
	s.worker.mu.Unlock()
	all.Sent, all.SentRTCP = s.sent[0].count(), s.sent[1].count()
	return all
}

// Senders implements Stream.
func (s *wired) Senders() []Sender {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	return s.receiver.senders.list()
}

// Close implements Stream. The sockets are closed only when no worker and no
// insertion can be about to send from them: their numbers may be another file's in the next moment.
func (s *wired) Close() {
	s.closing.Do(func() {
		s.worker.mu.Lock()
		s.worker.dropLocked(s)
		s.partner = nil
		old := s.fd
		s.fd = [2]int{-1, -1}
		s.out[0].Store(nil)
		s.out[1].Store(nil)
		own := s.voice
		s.worker.mu.Unlock()
		s.engine.forget(s)
		if own != nil {
			own.rest()
		}
		if err := closeAll(old); err != nil {
			s.engine.log.Warn("media socket did not close", "error", err)
		}
	})
}

func (s *wired) closeSockets() error { return closeAll(s.fd) }

func closeAll(fds [2]int) error {
	var errs []error
	for _, fd := range fds {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}
