package relay

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// BenchmarkReceive is what the rules and counters cost per accepted packet, without
// any socket.
func BenchmarkReceive(b *testing.B) {
	r := newReceiver(Sender{}, noon)
	r.setRemote(Remote{RTP: trunk, PayloadTypes: []uint8{0}})
	r.answer()
	in := inbound{packetOf(b, rtp.Header{SSRC: 1}, 160), trunk, noon}
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint16(in.pkt[2:], uint16(i))
		binary.BigEndian.PutUint32(in.pkt[4:], uint32(i)*160)
		in.at = in.at.Add(20 * time.Millisecond)
		if v := r.receive(rtpChannel, in); !v.ok {
			b.Fatal(v.reason)
		}
	}
}
