// Package relay is the engine under package media: it reads RTP and RTCP from
// the sockets of one stream, decides by latch and header checks whether to
// believe each packet, counts it and sends it unchanged from the partner
// stream's socket.
//
// The rules (latch, header checks, counters) are plain values that know
// neither sockets nor goroutines; an Engine is what moves packets through them.
// The engine here reads each socket in a goroutine of its own over
// net.PacketConn; another one may own many sockets per worker, callers see no
// difference.
package relay

import "net"

// Pair is the two sockets of one stream: RTP on the even port, RTCP on the odd
// one above it (RFC 3550 s11).
type Pair struct {
	RTP, RTCP net.PacketConn
}

// Options are what an engine must know of a stream when it opens.
type Options struct {
	// First is called once, when the first acceptable RTP packet or datagram
	// came. It runs on the engine's goroutine: it must return at once and must
	// not call the stream. Nil: nobody asks.
	First func()
	// Past is the last sender of the stream that used the same port pair
	// before; its packets are refused until it fell silent.
	Past Sender
	// Older are those of the streams before that, who may not have stopped either.
	Older []Sender
}

// Engine moves the packets of many streams. All methods may be called from any
// goroutine.
type Engine interface {
	// Open starts a stream on the pair and takes ownership of its sockets,
	// also when it fails with ErrClosed.
	Open(Pair, Options) (Stream, error)
	// Close closes all streams and waits for all goroutines. Idempotent.
	Close()
}

// Stream is one m= line of one leg. All methods may be called from any
// goroutine except the engine's own (Options.First), and are safe after Close.
type Stream interface {
	// SetRemote says what signalling knows of the far end; until then every
	// packet is refused. A changed address, or the end of a hold, reopens the
	// latch.
	SetRemote(Remote)
	// Answered closes the latch 2 s after the next acceptable packet.
	Answered()
	// Forward sends the packets that this stream accepts to the far end of the
	// other stream, which must be of an engine of the same kind. Nil: packets
	// are counted and dropped. One direction only.
	Forward(to Stream)
	// Insert begins an insertion of packets of our own towards the far end. The
	// stream's owner ends it.
	Insert(Insert) *Insertion
	// Tap gives the RTP packets of some payload types to somebody else, and may keep
	// them from the partner; nil: none any more.
	Tap(*Tap)
	// Stats is a snapshot of the counters, final after Close.
	Stats() Stats
	// Senders are those who may go on sending when the stream is over, newest first:
	// the last two that were accepted, then the last one that was refused.
	Senders() []Sender
	// Observe shows the stream's packets from now on; without an Observer to nobody.
	Observe(Observation)
	// Close closes both sockets and waits for their readers. Idempotent.
	Close()
}
