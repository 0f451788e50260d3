package relay

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge/media/srtp"
)

// M3: a million forged packets and a hundred thousand repeated ones, half of them from
// the far end's address, are counted and change nothing.
func TestM3MillionForged(t *testing.T) {
	const forged, repeated, good = 1_000_000, 100_000, 100
	suites := []srtp.Suite{srtp.AESCM128HMACSHA180, srtp.AES256CMHMACSHA180} // GCM is twice as dear under the race detector
	for _, suite := range suites {
		t.Run(suite.String(), func(t *testing.T) {
			t.Parallel()
			key, err := srtp.NewKey(suite)
			if err != nil {
				t.Fatal(err)
			}
			sender, err := srtp.NewSender(key)
			if err != nil {
				t.Fatal(err)
			}
			r := newReceiver(Sender{}, noon)
			r.setRemote(Remote{RTP: trunk, Secure: &Secure{Theirs: key, Ours: key}})
			r.answer()
			now, seq := noon, uint16(0)
			packet := func() []byte {
				seq++
				return sealed(sender, false, packetOf(t, rtp.Header{SSRC: 9, SequenceNumber: seq, Timestamp: uint32(seq) * 160}, 20))
			}
			say := func() (said []byte) {
				t.Helper()
				said = packet()
				if v := r.receive(rtpChannel, inbound{slices.Clone(said), trunk, now}); !v.ok {
					t.Fatalf("good packet %d: %s", seq, v.reason)
				}
				return said
			}
			buf := make([]byte, maxPacket)
			shoot := func(i int, pkt []byte) {
				from, want := trunk, BadAuth
				if i%2 == 0 {
					from, want = attacker, WrongSource
				}
				now = now.Add(20 * time.Microsecond)
				if v := r.receive(rtpChannel, inbound{pkt, from, now}); v.ok || v.moved || v.reason != want {
					t.Fatalf("packet %d from %s: %+v", i, from, v)
				}
			}
			forge := func(n int) {
				like := packet()
				tag := binary.BigEndian.Uint64(like[len(like)-8:])
				for i := range n / len(suites) {
					pkt := buf[:copy(buf, like)]
					binary.BigEndian.PutUint64(pkt[len(pkt)-8:], tag+uint64(i)+1) //nolint:gosec // small
					binary.BigEndian.PutUint16(pkt[2:], seq+uint16(i>>1&7))       //nolint:gosec // wraps
					shoot(i, pkt)
				}
			}
			forge(forged / 10)
			if s := r.snapshot(); s.RTP.Packets != 0 || s.Source != (netip.AddrPort{}) {
				t.Fatalf("latched: %+v", s)
			}
			var said [][]byte
			for range good {
				said = append(said, say())
				now = now.Add(20 * time.Millisecond)
			}
			forge(forged - forged/10)
			for i := range repeated / len(suites) {
				old := said[i/2%len(said)]
				shoot(i, buf[:copy(buf, old)])
			}
			say()
			s := r.snapshot()
			if s.RTP.Packets != good+1 || s.Source != trunk || s.Rejected.Total() != (forged+repeated)/uint64(len(suites)) {
				t.Errorf("%+v", s)
			}
		})
	}
}
