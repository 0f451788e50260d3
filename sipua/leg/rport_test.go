package leg_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// A PBX that sends from one port and listens on another (RFC 3261 s18.2.2): the
// responses of a call go where those of any request go, also when the leg has moved
// to another port that it sends from.
func TestWayBackOfACall(t *testing.T) {
	for _, tt := range []struct {
		name   string
		forced bool
		rport  string
		toVia  bool
	}{
		{"forced", true, "", false},
		{"not forced", false, "", true},
		{"not forced, but asked for", false, ";rport", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, 1)
				bob := newSide(t, n, bobHost, func(c *sipua.Config) {
					c.ForceRPort = func(*sipua.Flow) bool { return tt.forced }
				})
				sends, listens := newPeerAt(t, n, netip.AddrPortFrom(aliceHost, 32000), bob), newPeer(t, n, aliceHost, bob)
				later := newPeerAt(t, n, netip.AddrPortFrom(aliceHost, 32001), bob)
				there, moved := sends, later
				if tt.toVia {
					there, moved = listens, listens
				}
				sends.send(strings.Replace(invite("way", 1, "", offerSDP), ":5060;branch", ":5060"+tt.rport+";branch", 1))
				b := bob.uas(0)
				there.response("INVITE", 100)
				bob.must(func() error { return b.Ring() })
				there.response("INVITE", 180)
				f, err := bob.ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.AddrPortFrom(aliceHost, 32001)})
				if err != nil {
					t.Fatal(err)
				}
				bob.must(func() error { return b.SetFlow(f) })
				bob.must(func() error { return b.Answer([]byte(answerSDP)) })
				moved.response("INVITE", 200)
				for _, p := range []*peer{sends, listens, later} {
					p.silent(func(sip.Message) bool { return true })
				}
				bob.owner.do(b.Drop)
				empty(t, bob)
			})
		})
	}
}
