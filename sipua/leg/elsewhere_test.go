package leg_test

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// beside lets the legs of a side follow what their peers say of themselves over UDP; no
// host but that of the flow is believed.
func beside(s *side) (asked *[]string) {
	asked = new([]string)
	s.conf = func(c *leg.Config) {
		c.Reach = func(_ context.Context, next sip.Uri, now *sipua.Flow) (*sipua.Flow, error) {
			*asked = append(*asked, next.Host+":"+strconv.Itoa(next.Port))
			addr, err := netip.ParseAddr(next.Host)
			if err != nil || addr != now.Remote().Addr() {
				return nil, errors.New("not there")
			}
			return now.Beside(netip.AddrPortFrom(addr, uint16(next.Port))), nil
		}
	}
	return asked
}

func all(sip.Message) bool { return true }

// RFC 3261 s12.2.1.1: a PBX that sends from one port and listens on another gets the
// requests of its dialog there, and the answers to its own where it sends from.
func TestRequestsGoToTheRemoteTarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		us := newSide(t, n, bobHost, known)
		asked := beside(us)
		sends, listens := newPeerAt(t, n, netip.AddrPortFrom(aliceHost, 32000), us), newPeer(t, n, aliceHost, us)
		sends.send(invite("target", 1, "", offerSDP))
		b := us.uas(0)
		us.must(func() error { return b.Answer([]byte(answerSDP)) })
		sends.response("INVITE", 200)
		time.Sleep(time.Second)
		sends.response("INVITE", 200) // again, for there was no ACK
		sends.send(raw("ACK", "target", 1, b.Tag(), "", ""))
		us.must(func() error { return b.Probe() })
		listens.request("OPTIONS")
		us.must(func() error { return b.Reinvite([]byte(holdSDP)) })
		later := newPeerAt(t, n, netip.AddrPortFrom(aliceHost, 5062), us)
		listens.send(reply(listens.request("INVITE"), 200, "", "Contact: <sip:alice@10.0.0.1:5062>\n", heldSDP))
		later.request("ACK") // the target was refreshed
		sends.send(strings.Replace(raw("INFO", "target", 2, b.Tag(), "", ""), "5060;branch", "5060;rport;branch", 1))
		sends.response("INFO", 405)
		us.must(func() error { return b.Bye() })
		bye := later.request("BYE")
		later.send(reply(bye, 200, "", "", ""))
		sends.silent(all)
		if got := strings.Join(*asked, " "); got != "10.0.0.1:5060 10.0.0.1:5062" {
			t.Errorf("asked for %s", got)
		}
		empty(t, us)
	})
}

// So do those of a dialog that we began, with its ACK.
func TestAckGoesToTheRemoteTarget(t *testing.T) {
	for _, tt := range []struct {
		name, headers string
		there         uint16
	}{
		{"Contact", "Contact: <sip:bob@10.0.0.2:5070>\n", 5070},
		{"Contact and first Route", "Record-Route: <sip:10.0.0.2:5099;lr>, <sip:10.0.0.2:5080;lr>\nContact: <sip:bob@10.0.0.2:5070>\n", 5080},
		{"strict router", "Record-Route: <sip:10.0.0.2:5080>\nContact: <sip:bob@10.0.0.2:5070>\n", 5080},
		{"where it is", "Contact: <sip:bob@10.0.0.2>\n", 5060},
		{"stranger", "Contact: <sip:bob@10.0.0.66:5060>\n", 5060},
		{"no address", "Contact: <sip:bob@inside.example.com:5070>\n", 5060},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(t, 1)
				us := newSide(t, n, aliceHost, known)
				asked := beside(us)
				peers := map[uint16]*peer{}
				for _, port := range []uint16{5060, 5070, 5080, 5099} {
					peers[port] = newPeerAt(t, n, netip.AddrPortFrom(bobHost, port), us)
				}
				evil := newPeer(t, n, evilHost, us)
				f, err := us.ep.Connect(t.Context(), sipua.UDP, sipua.Destination{Addr: netip.AddrPortFrom(bobHost, 5060)})
				if err != nil {
					t.Fatal(err)
				}
				a := us.call(f)
				inv := peers[5060].request("INVITE")
				ok := reply(inv, 200, "b", tt.headers, answerSDP)
				peers[5060].send(ok)
				peers[tt.there].request("ACK")
				peers[5060].send(ok)
				peers[tt.there].request("ACK")
				us.must(func() error { return a.Bye() })
				peers[tt.there].send(reply(peers[tt.there].request("BYE"), 200, "", "", ""))
				for _, p := range peers {
					p.silent(all)
				}
				evil.silent(all)
				if len(*asked) > 1 || len(*asked) == 0 && tt.name != "where it is" {
					t.Errorf("asked for %q", *asked)
				}
				empty(t, us)
			})
		})
	}
}

// A device is reached over its flow, whatever it calls itself (I9).
func TestDevicesStayOnTheirFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		us := newSide(t, n, bobHost)
		sends, listens := newPeerAt(t, n, netip.AddrPortFrom(aliceHost, 32000), us), newPeer(t, n, aliceHost, us)
		sends.send(invite("device", 1, "", offerSDP))
		b := us.uas(0)
		us.must(func() error { return b.Answer([]byte(answerSDP)) })
		sends.send(raw("ACK", "device", 1, b.Tag(), "", ""))
		us.must(func() error { return b.Bye() })
		sends.send(reply(sends.request("BYE"), 200, "", "", ""))
		listens.silent(all)
		empty(t, us)
	})
}

// A stream that lives is kept: the peer opened it, and its Contact may be out of reach.
func TestStreamsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t, 1)
		us, pbx := newSide(t, n, bobHost, known), newSide(t, n, aliceHost, known, func(c *sipua.Config) {
			c.Advertise = func(*sipua.Flow) (string, int) { return "10.0.0.1", 5099 }
		})
		asked := beside(us)
		a, b := establishedCall(pbx, us, sipua.TCP)
		us.must(func() error { return b.Bye() })
		pbx.expect(a, "Answered, Ended bye by remote")
		if len(*asked) > 0 {
			t.Errorf("asked for %q", *asked)
		}
		empty(t, us, pbx)
	})
}
