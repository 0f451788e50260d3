package bridge_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/sipua/leg"
)

// post sends a packet to where the ua was told to, from conn; rtcpPort: one port above.
func (u *ua) postMedia(conn net.PacketConn, pkt []byte, above uint16) {
	u.w.t.Helper()
	to := u.target()
	if _, err := conn.WriteTo(pkt, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), to.Port()+above))); err != nil {
		u.w.t.Fatal(err)
	}
	u.w.settle()
}

func compound(t *testing.T, p rtcp.Packet) []byte {
	t.Helper()
	b, err := rtcp.Marshal([]rtcp.Packet{p})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RTCP shares the RTP port where both ends say so, else it has its own.
func TestMuxedReports(t *testing.T) {
	for _, tt := range []struct {
		name          string
		offer, answer string
		above         uint16
	}{
		{"agreed", "a=rtcp-mux", "a=rtcp-mux", 0}, {"offered", "a=rtcp-mux", "a=sendrecv", 1}, {"neither", "a=sendrecv", "a=sendrecv", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				var reports [2]net.PacketConn
				for i, u := range []*ua{pbx, phone} {
					reports[i] = u.rtp
					if tt.above == 1 {
						var err error
						if reports[i], err = w.net.Host(u.host).ListenPacket(netip.AddrPortFrom(u.host, 40001)); err != nil {
							t.Fatal(err)
						}
						defer reports[i].Close()
					}
				}
				a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.sdp(tt.offer) })
				b := phone.invited(0)
				b.must(func() error { return b.Answer(phone.sdp(tt.answer)) })
				pkt := compound(t, &rtcp.ReceiverReport{SSRC: 7})
				for i, u := range []*ua{pbx, phone} {
					u.postMedia(reports[i], pkt, tt.above)
					other := reports[1-i]
					if err := other.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
						t.Fatal(err)
					}
					buf := make([]byte, 100)
					if n, _, err := other.ReadFrom(buf); err != nil || !slices.Equal(buf[:n], pkt) {
						t.Errorf("from %s: %q, %v", u.name, buf[:n], err)
					}
				}
				a.hangUp()
			})
		})
	}
}

var _ = bridge.Answered
var _ = strings.Join
var _ prometheus.Registerer
