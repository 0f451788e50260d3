package relay

import (
	"encoding/json"
	"fmt"
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
	BadAuth                     // SRTP that was not made with the far end's key, or came before
	NoDestination               // accepted, but there is no partner or it has no address yet
	SendFailed                  // accepted, but the socket refused it
	Converted                   // accepted, but its tap took it: what it said goes on in another form
	Held                        // accepted, but something is inserted in its stead
	NotSealed                   // accepted, but SRTP may not send it: its number was used, or it is of too many senders
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
	case BadAuth:
		return "bad_auth"
	case NoDestination:
		return "no_destination"
	case SendFailed:
		return "send_failed"
	case Converted:
		return "converted"
	case Held:
		return "held"
	case NotSealed:
		return "not_sealed"
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

// Rejections counts packets by Reason. NoDestination, SendFailed, Converted, Held, NotSealed and
// Fault happen to packets that were accepted: those are counted as received as well.
type Rejections [reasonCount]uint64

// MarshalJSON is an object of the reasons that occurred: {"wrong_source":5}.
func (r Rejections) MarshalJSON() ([]byte, error) {
	some := make(map[string]uint64)
	for i, n := range r {
		if n > 0 {
			some[Reason(i).String()] = n
		}
	}
	return json.Marshal(some)
}

// UnmarshalJSON reads what MarshalJSON wrote; unknown reasons, of another
// version, are left out.
func (r *Rejections) UnmarshalJSON(b []byte) error {
	var some map[string]uint64
	if err := json.Unmarshal(b, &some); err != nil {
		return fmt.Errorf("media rejections: %w", err)
	}
	*r = Rejections{}
	for i := range r {
		r[i] = some[Reason(i).String()]
	}
	return nil
}

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
	Packets uint64 `json:"packets"`
	Octets  uint64 `json:"octets"`
}

func (c *Count) add(octets int) {
	c.Packets++
	c.Octets += uint64(octets)
}

// Stats is what one stream received from its far end and sent to it.
type Stats struct {
	// RTP counts accepted RTP packets, or datagrams where the m= line is not
	// RTP; RTCP the accepted RTCP packets (compound ones once).
	RTP  Count `json:"rtp"`
	RTCP Count `json:"rtcp"`
	// Sent counts what went to the far end: RTP (or datagrams) and RTCP.
	Sent     Count `json:"sent"`
	SentRTCP Count `json:"sent_rtcp"`
	// Inserted is how many packets of Sent we made ourselves.
	Inserted uint64 `json:"inserted,omitzero"`
	// Lost is the number of packets missing in the sequence numbers (RFC 3550
	// appendix A.3), over all SSRCs; late duplicates do not make it negative.
	Lost uint64 `json:"lost"`
	// Withheld is how many packets we kept from the partner (Held, Converted) that it
	// must take for lost: those between the first and the last of a sender that passed.
	Withheld uint64 `json:"withheld,omitzero"`
	// Rejected counts what was not relayed, by Reason.
	Rejected Rejections `json:"rejected"`
	// First and Last are when the first and the last accepted RTP packet or
	// datagram came; zero if none did.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// FirstAnswered is when the first one after the answer came.
	FirstAnswered time.Time `json:"first_answered,omitzero"`
	// Alive is when anything acceptable came last, RTCP included: a muted phone
	// that sends no RTP may still send reports.
	Alive time.Time `json:"alive,omitzero"`
	// SSRC is the newest sender's, PayloadType the one that most packets had.
	SSRC        uint32 `json:"ssrc"`
	PayloadType uint8  `json:"payload_type"`
	// Jitter is the newest interarrival jitter estimate (RFC 3550 s6.4.1) among
	// packets of one payload type and rising timestamps; 0 where the clock is
	// unknown.
	Jitter time.Duration `json:"jitter_ns"`
	// JitterMean is the mean of that estimate over all packets.
	JitterMean time.Duration `json:"jitter_mean_ns"`
	// Heard is what the far end reports of what was sent to it, RoundTrip how long it
	// takes there and back; both by RTCP.
	Heard     Heard     `json:"heard"`
	RoundTrip RoundTrip `json:"round_trip,omitzero"`
	// Sound says whether RTP carries any.
	Sound Sound `json:"sound,omitzero"`
	// Gap is the longest time between two RTP packets since the answer and without a
	// hold in between; it began at GapAt. Pauses of speech (DTX) are gaps, and no loss.
	Gap   time.Duration `json:"gap_ns,omitempty"`
	GapAt time.Time     `json:"gap_at,omitzero"`
	// Named is where signalling says that the far end is, Source where RTP really
	// comes from, zero before the first packet.
	Named  netip.AddrPort `json:"named,omitzero"`
	Source netip.AddrPort `json:"source,omitzero"`
	// Stranger is the source of the newest packet on the RTP port that was refused as
	// WrongSource; RefusedType the payload type of the newest one refused for it.
	Stranger    netip.AddrPort `json:"stranger,omitzero"`
	RefusedType uint8          `json:"refused_type,omitempty"`
}
