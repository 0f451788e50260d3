package e2e

import (
	"context"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// otherHost is where the phone goes from phoneHost.
const otherHost = "127.0.0.4"

// N4: a phone leaves its network in the middle of a call, without a word: it registers
// from the new one and offers its new address. The PBX notices nothing but a moment of
// silence, and both understand each other again.
func TestPhoneChangesItsNetwork(t *testing.T) {
	needPrograms(t, map[string]string{"espeak-ng": "espeak-ng", "sox": "sox"})
	anna := readWAV(t, speak(t, "en-us", "Hello Alice, this is Anna. Are you on the train?"))
	alice := readWAV(t, speak(t, "en-gb+f3", "Yes, I have just left my wireless network."))
	for name, secure := range map[string]bool{"RTP over TCP": false, "SRTP over TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changeNetwork(t, secure, anna, alice)
		})
	}
}

func changeNetwork(t *testing.T, secure bool, anna, alice []int16) {
	var annas mouth
	p, port := pbxSaying(t, &annas)
	ca, cert, key := certificate(t)
	s := start(t, func(c *config.Config) {
		trunkAt(port)(c)
		c.Listen = append(c.Listen, config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort(serverHost + ":0"), CertFile: cert, KeyFile: key})
		if secure {
			c.Media.SRTP.Apps = "required"
		}
	})
	kind, acc := mobileKind{host: phoneHost}, account(s, "", "")
	if secure {
		kind.tls, kind.audio.Security = trusting(t, ca), softphone.SRTPOnly
		acc.Transport, acc.Server = sipua.TLS, softphone.At(s.Addr(sipua.TLS))
	}
	m := newMobile(t, kind)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reg, first, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	out := dial(t, s, p, "201")
	in, err := m.Accept(ctx)
	must(t, err)
	must(t, in.Answer())
	_, err = out.Wait(ctx, softphone.Answered)
	must(t, err)
	a, b := speakerOf("the PBX", out, &annas, anna), speakerOf("the phone", in, &m.mouth, alice)
	converse(t, "at home", a, b)

	reg.Close()
	for _, up := range m.leave(netip.MustParseAddr(otherHost)) {
		t.Cleanup(func() { up.Conn.Close() })
	}
	m.Disconnect(first.Flow)
	_, second, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	left := out.Audio()
	must(t, in.Move(ctx, second.Flow))
	moved := time.Now()
	wait(t, 10*time.Second, "the PBX to hear the phone again", func() (bool, string) {
		return out.Audio().Received > left.Received, "nothing came"
	})
	t.Logf("audio came %s after the re-INVITE was answered", time.Since(moved).Round(time.Millisecond))
	converse(t, "on the way", a, b)
	if got := second.Flow.Local().Addr().String(); got != otherHost {
		t.Errorf("the phone is at %s", got)
	}
	must(t, out.Hangup())
	_, err = in.Ended(ctx) // the BYE comes to the new place
	must(t, err)
	_, err = out.Ended(ctx)
	must(t, err)
	r := s.record(t, 0)
	if r.HangupBy != "caller" || len(r.Media) != 2 {
		t.Fatalf("record: %+v", r)
	}
	if got := r.Media[1].Streams[0].Source.Addr().String(); got != otherHost || (r.Media[1].Crypto != "") != secure {
		t.Errorf("the phone's media come from %s, with %q", got, r.Media[1].Crypto)
	}
	if n := len(kindsOf(out, softphone.Ended)); n != 1 || len(kindsOf(out, softphone.Held)) > 0 {
		t.Errorf("the PBX saw %+v", out.Events())
	}
}

// detour is a socket whose packets may leave from another one.
type detour struct {
	net.PacketConn
	other atomic.Pointer[net.UDPConn]
}

// WriteTo implements net.PacketConn.
func (d *detour) WriteTo(b []byte, to net.Addr) (int, error) {
	if other := d.other.Load(); other != nil {
		return other.WriteTo(b, to)
	}
	return d.PacketConn.WriteTo(b, to)
}

// A phone that registers from another network and sends its media from there, but
// offers nothing: the register tells where it is, so it is heard; a stranger is not.
func TestPhoneRegistersFromAnotherNetwork(t *testing.T) {
	t.Parallel()
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	var way *detour
	k := mobileKind{host: phoneHost, media: func(conn net.PacketConn) net.PacketConn {
		way = &detour{PacketConn: conn}
		return way
	}}
	k.audio.Source = softphone.Tone(620)
	m := newMobile(t, k)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	acc := account(s, "", "")
	reg, bound, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	c := answeredCall(ctx, t, s, p, m)
	c.clean(t, "at home")
	pause(ctx, 2*time.Second) // past the latch's window
	way.other.Store(newStranger(t, otherHost, 0).conn)
	fallsSilent(t, "from elsewhere without a word", c.out)
	reg.Close()
	for _, up := range m.leave(netip.MustParseAddr(otherHost)) {
		t.Cleanup(func() { up.Conn.Close() })
	}
	m.Disconnect(bound.Flow)
	_, _, err = m.RegisterAndWait(ctx, acc)
	must(t, err)
	speaks(t, "registered from there: the PBX", c.out)
	c.end(ctx, t)
	if got := s.record(t, 0).Media[1].Streams[0].Source.Addr().String(); got != otherHost {
		t.Errorf("the phone's media come from %s", got)
	}
}

// kindsOf are the events of a kind.
func kindsOf(c *softphone.Call, k softphone.Kind) []softphone.Event {
	var all []softphone.Event
	for _, e := range c.Events() {
		if e.Kind == k {
			all = append(all, e)
		}
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
