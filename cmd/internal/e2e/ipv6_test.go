package e2e

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/bridge/sdp"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// sixHost is the one IPv6 address that loopback has.
const sixHost = "::1"

// needIPv6 fails a test on a machine without IPv6 on loopback.
func needIPv6(t *testing.T) {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp6", "[::1]:0")
	if err != nil {
		t.Fatalf("this machine has no IPv6 on loopback (Linux: sysctl net.ipv6.conf.lo.disable_ipv6=0): %v", err)
	}
	conn.Close()
}

// bothFamilies makes a server listen and relay on IPv4 and IPv6.
func bothFamilies(c *config.Config) {
	six := netip.MustParseAddr(sixHost)
	for _, transport := range []string{"udp", "tcp"} {
		c.Listen = append(c.Listen, config.Listener{Transport: transport, Bind: netip.AddrPortFrom(six, 0)})
	}
	c.Media.Bind = append(c.Media.Bind, six)
}

// listening is where the server takes a transport at a host.
func (s *server) listening(t *testing.T, transport sipua.Transport, host string) netip.AddrPort {
	t.Helper()
	for _, at := range s.Endpoint().Listening(transport) {
		if at.Addr() == netip.MustParseAddr(host) {
			return at
		}
	}
	t.Fatalf("%s is not listened for at %s", transport, host)
	return netip.AddrPort{}
}

// audioOf is the audio stream of a description that a peer got.
func audioOf(t *testing.T, body []byte) sdp.Stream {
	t.Helper()
	d, err := sdp.Parse(body)
	must(t, err)
	return d.Streams()[0]
}

// A phone with IPv6 and a PBX with IPv4, the other way round, and two phones with
// IPv6: each leg's SDP has addresses of its own family only, both hear each other,
// also after each side held the call.
func TestIPv6(t *testing.T) {
	needIPv6(t)
	for name, hosts := range map[string][2]string{ // PBX, phone
		"phone with IPv6, PBX with IPv4": {trunkHost, sixHost}, // and SRTP
		"phone with IPv4, PBX with IPv6": {sixHost, phoneHost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trunk, phone := hosts[0], hosts[1]
			p, port := pbxAt(t, trunk, softphone.Tone(440))
			s := start(t, func(c *config.Config) {
				bothFamilies(c)
				at := netip.MustParseAddr(trunk)
				c.Trunks[0].Match = []netip.Prefix{netip.PrefixFrom(at, at.BitLen())}
				if phone == sixHost {
					c.Media.SRTP = config.SRTP{Apps: "required", Trunks: "off", KeysOver: "any"}
				}
				c.Trunks[0].Contact = "sip:" + netip.AddrPortFrom(at, uint16(port)).String() //nolint:gosec // a port
			})
			m := toneMobile(t, phone, "alice", 620)
			server := map[bool]string{true: sixHost, false: serverHost}
			acc := account(s, "", "")
			acc.Server = softphone.At(s.listening(t, sipua.TCP, server[phone == sixHost]))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, _, err := m.RegisterAndWait(ctx, acc)
			must(t, err)
			flow, err := p.Connect(ctx, sipua.UDP, softphone.At(s.listening(t, sipua.UDP, server[trunk == sixHost])))
			must(t, err)
			bothHear(ctx, t, p, flow, m.Phone, [2]string{server[trunk == sixHost], server[phone == sixHost]}, "201")
			checkFamilies(t, s.record(t, 0), hosts)
		})
	}
	t.Run("two phones with IPv6", func(t *testing.T) {
		t.Parallel()
		s := start(t, bothFamilies)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		at := softphone.At(s.listening(t, sipua.TCP, sixHost))
		caller, callee := toneMobile(t, sixHost, "bob", 440), toneMobile(t, sixHost, "alice", 620)
		var flow *sipua.Flow
		for _, m := range []*mobile{callee, caller} {
			acc := account(s, "", "")
			acc.Server = at
			acc.Contact = nil
			_, bound, err := m.RegisterAndWait(ctx, acc)
			must(t, err)
			flow = bound.Flow
		}
		bothHear(ctx, t, caller.Phone, flow, callee.Phone, [2]string{sixHost, sixHost}, "201")
		checkFamilies(t, s.record(t, 0), [2]string{sixHost, sixHost})
	})
}

// toneMobile is a user's phone that sends a tone.
func toneMobile(t *testing.T, host, user string, hz float64) *mobile {
	t.Helper()
	k := mobileKind{host: host, user: user}
	k.audio.Source = softphone.Tone(hz)
	return newMobile(t, k)
}

// bothHear makes a call from a phone that sends 440 Hz to one that sends 620 Hz.
// shown are the addresses that the server must show to the caller and to the callee.
func bothHear(ctx context.Context, t *testing.T, from *softphone.Phone, flow *sipua.Flow, to *softphone.Phone, shown [2]string, number string) {
	t.Helper()
	out, err := from.Call(softphone.Outgoing{Target: sip.Uri{Scheme: "sip", User: number, Host: daemon.DevDomain}, Flow: flow})
	must(t, err)
	in, err := to.Accept(ctx)
	must(t, err)
	must(t, in.Answer())
	e, err := out.Wait(ctx, softphone.Answered)
	must(t, err)
	for i, body := range [][]byte{e.Response.Body(), in.Invite().Body()} {
		want := netip.MustParseAddr(shown[i])
		other := map[bool]string{true: "IP4", false: "IP6"}[want.Is6()]
		if got := audioOf(t, body); got.Addr != want || strings.Contains(string(body), other) {
			t.Errorf("leg %c is told %v, want %v:\n%s", 'A'+i, got.Addr, want, body)
		}
	}
	hears(t, "the caller", out, 620)
	hears(t, "the callee", in, 440)
	for who, c := range map[string]*softphone.Call{"the caller": out, "the callee": in} {
		other := map[*softphone.Call]*softphone.Call{out: in, in: out}[c]
		held := len(kindsOf(other, softphone.Held))
		must(t, c.Hold(ctx))
		wait(t, 5*time.Second, "the other to see that it is held by "+who, func() (bool, string) { // it notes so once it has answered
			return len(kindsOf(other, softphone.Held)) == held+1, "it does not"
		})
		fallsSilent(t, "held by "+who, c)
		must(t, c.Resume(ctx))
		speaks(t, "resumed by "+who, out)
		speaks(t, "resumed by "+who, in)
	}
	hears(t, "the caller at last", out, 620)
	hears(t, "the callee at last", in, 440)
	must(t, out.Hangup())
	_, err = in.Ended(ctx)
	must(t, err)
}

// fallsSilent checks that nothing comes to a call any more, but for what is on its way.
func fallsSilent(t *testing.T, when string, c *softphone.Call) {
	t.Helper()
	var last uint64
	same := 0
	wait(t, 10*time.Second, when+": silence", func() (bool, string) {
		if n := c.Audio().Received; n != last {
			last, same = n, 0
		} else {
			same++
		}
		return same == 20, fmt.Sprint(last, " packets") // 200 ms: ten packets
	})
}

// speaks waits until packets come to a call again.
func speaks(t *testing.T, when string, c *softphone.Call) {
	t.Helper()
	from := c.Audio().Received
	wait(t, 10*time.Second, when+": audio", func() (bool, string) { return c.Audio().Received > from+25, "too few packets came" })
}

// checkFamilies checks where the media of both legs came from.
func checkFamilies(t *testing.T, r bridge.Record, hosts [2]string) {
	t.Helper()
	if len(r.Media) != 2 {
		t.Fatalf("record: %+v", r)
	}
	for i, m := range r.Media {
		if s := m.Streams[0]; s.Source.Addr() != netip.MustParseAddr(hosts[i]) || s.Lost > 0 || s.Rejected.Total() > s.RTP.Packets/10 {
			t.Errorf("leg %s: %+v", m.Leg, s)
		}
	}
}

// A phone leaves an IPv4 network for an IPv6 one in the middle of a call. Our media
// stay where they are, and so says our answer; a phone that reaches both families goes
// on, by SRTP, which proves that it is it.
func TestPhoneMovesToIPv6(t *testing.T) {
	needIPv6(t)
	t.Parallel()
	p, port := pbx(t, 440)
	s := start(t, func(c *config.Config) {
		bothFamilies(c)
		trunkAt(port)(c)
		c.Media.SRTP = config.SRTP{Apps: "required", Trunks: "off", KeysOver: "any"}
	})
	k := mobileKind{host: phoneHost, any: true}
	k.audio.Source, k.audio.Security = softphone.Tone(620), softphone.SRTPOnly
	m := newMobile(t, k)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	acc := account(s, "", "")
	reg, bound, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	c := answeredCall(ctx, t, s, p, m)
	c.clean(t, "over IPv4")
	reg.Close()
	for _, up := range m.leave(netip.MustParseAddr(sixHost)) {
		t.Cleanup(func() { up.Conn.Close() })
	}
	m.Disconnect(bound.Flow)
	acc.Server = softphone.At(s.listening(t, sipua.TCP, sixHost))
	_, bound, err = m.RegisterAndWait(ctx, acc)
	must(t, err)
	must(t, c.in.Move(ctx, bound.Flow))
	speaks(t, "over IPv6: the PBX", c.out)
	speaks(t, "over IPv6: the phone", c.in)
	c.heard(t, "over IPv6")
	c.end(ctx, t)
}

// Peers outside local_net see external_media_address of their leg's family, whatever
// the other leg's is.
func TestExternalMediaAddressByFamily(t *testing.T) {
	needIPv6(t)
	t.Parallel()
	p, port := pbx(t, 440)
	s := start(t, func(c *config.Config) {
		bothFamilies(c)
		trunkAt(port)(c)
		c.Network.LocalNet = nil
		c.Network.ExternalMediaAddress = config.Addresses{V4: netip.MustParseAddr("192.0.2.44"), V6: netip.MustParseAddr("2001:db8::66")}
	})
	m := toneMobile(t, sixHost, "alice", 620)
	acc := account(s, "", "")
	acc.Server = softphone.At(s.listening(t, sipua.TCP, sixHost))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, _, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	out := dial(t, s, p, "201")
	in, err := m.Accept(ctx)
	must(t, err)
	must(t, in.Answer())
	e, err := out.Wait(ctx, softphone.Answered)
	must(t, err)
	for body, want := range map[string]string{string(e.Response.Body()): "IN IP4 192.0.2.44", string(in.Invite().Body()): "IN IP6 2001:db8::66"} {
		if strings.Count(body, want) != 2 || strings.Count(body, "IN IP") != 2 { // o= and c=
			t.Errorf("want %s:\n%s", want, body)
		}
	}
	must(t, out.Hangup())
	_, err = in.Ended(ctx)
	must(t, err)
}
