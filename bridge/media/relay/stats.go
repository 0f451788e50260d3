package relay

import (
	"net/netip"
	"time"
)

// Reason says why a packet was not relayed.
type Reason uint8

// The reasons, in the order in which a packet meets them.
const (
	TooLong       Reason = iota // over 1500 octets
	PastSender                  // it belongs to the call that used the port before
	NoRemote                    // signalling did not name a far end yet, or refused the line
	WrongSource                 // not from where the latch allows
	BadHeader                   // not RTP or RTCP version 2, or lengths that do not add up
	PayloadType                 // not one of those agreed
	NoDestination               // accepted, but there is no partner or it has no address yet
	SendFailed                  // accepted, but the socket refused it
	Fault                       // a fault of ours, caught
	reasonCount
)

// String is the reason in the form that metrics and records use.
func (r Reason) String() string {
	switch r {
	case TooLong:
		return "too_long"
	case PastSender:
		return "past_sender"
	case NoRemote:
		return "no_remote"
	case WrongSource:
		return "wrong_source"
	case BadHeader:
		return "bad_header"
	case PayloadType:
		return "payload_type"
	case NoDestination:
		return "no_destination"
	case SendFailed:
		return "send_failed"
	case Fault:
		return "fault"
	}
	return "unknown"
}

// Reasons lists all reasons.
func Reasons() []Reason {
	all := make([]Reason, reasonCount)
	for i := range all {
		all[i] = Reason(i)
	}
	return all
}

// Rejections counts packets by Reason. NoDestination, SendFailed and Fault
// happen to packets that were accepted: those are counted as received as well.
type Rejections [reasonCount]uint64

// Total is the number of packets that were not relayed.
func (r Rejections) Total() uint64 {
	var n uint64
	for _, v := range r {
		n += v
	}
	return n
}

// Count is packets and the octets of their UDP payload, headers included.
type Count struct {
	Packets, Octets uint64
}

func (c *Count) add(octets int) {
	c.Packets++
	c.Octets += uint64(octets)
}

// Stats is what one stream received from its far end and sent to it.
type Stats struct {
	// RTP counts accepted RTP packets, or datagrams where the m= line is not
	// RTP; RTCP the accepted RTCP packets (compound ones once).
	RTP, RTCP Count
	// Sent counts what went to the far end: RTP (or datagrams) and RTCP.
	Sent, SentRTCP Count
	// Lost is the number of packets missing in the sequence numbers (RFC 3550
	// appendix A.3), over all SSRCs; late duplicates do not make it negative.
	Lost uint64
	// Rejected counts what was not relayed, by Reason.
	Rejected Rejections
	// First and Last are when the first and the last accepted RTP packet or
	// datagram came; zero if none did.
	First, Last time.Time
	// Alive is when anything acceptable came last, RTCP included: a muted phone
	// that sends no RTP may still send reports.
	Alive time.Time
	// SSRC is the newest sender's, PayloadType the one that most packets had.
	SSRC        uint32
	PayloadType uint8
	// Jitter is the newest interarrival jitter estimate (RFC 3550 s6.4.1) among
	// packets of one payload type and rising timestamps; 0 where the clock is
	// unknown.
	Jitter time.Duration
	// Source is where RTP really comes from, zero before the first packet.
	Source netip.AddrPort
}
