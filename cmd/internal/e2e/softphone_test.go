package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/bridge/media/audio"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// pbx is a PBX at trunkHost, as the server's trunk "pbx" knows it; it sends a tone of
// hz.
func pbx(t *testing.T, hz float64) (*softphone.Phone, int) {
	t.Helper()
	return pbxWith(t, softphone.Tone(hz))
}

// pbxSaying is a PBX that says what its mouth does.
func pbxSaying(t *testing.T, m *mouth) (*softphone.Phone, int) {
	t.Helper()
	return pbxWith(t, func() audio.Source { return m })
}

func pbxWith(t *testing.T, sound func() audio.Source) (*softphone.Phone, int) {
	t.Helper()
	return pbxAt(t, trunkHost, sound)
}

func pbxAt(t *testing.T, host string, sound func() audio.Source) (*softphone.Phone, int) {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	p := phone(t, softphone.Config{AOR: sipua.NewAOR("100", "pbx.example"), Display: "Anna", Packets: []net.PacketConn{conn}}, host, sound)
	return p, conn.LocalAddr().(*net.UDPAddr).Port
}

// phone makes a softphone whose media are at host and which sends a sound.
func phone(t *testing.T, cfg softphone.Config, host string, sound func() audio.Source) *softphone.Phone {
	t.Helper()
	cfg.Media = func() (net.PacketConn, error) { return net.ListenPacket("udp", net.JoinHostPort(host, "0")) }
	cfg.Log = slog.New(slog.DiscardHandler)
	cfg.Audio.Source = sound
	p, err := softphone.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// app is a softphone at phoneHost for alice, without a binding yet.
func app(t *testing.T, hz float64) *softphone.Phone {
	t.Helper()
	dial := func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(phoneHost + ":0"))}
		return d.DialContext(ctx, "tcp", to.Addr.String())
	}
	return phone(t, softphone.Config{AOR: sipua.NewAOR("alice", daemon.DevDomain), Password: "secret", Dial: dial}, phoneHost, softphone.Tone(hz))
}

// account registers over TCP at s, with push tokens if there are any.
func account(s *server, voip, alert string) softphone.Account {
	return softphone.Account{Transport: sipua.TCP, Server: softphone.At(s.Addr(sipua.TCP)), Expires: time.Hour,
		Contact: func() (uri, params sip.HeaderParams) {
			params = sip.HeaderParams{softphone.InstanceParam("urn:uuid:5f0f5b1c-0000-4000-8000-000000000001")}
			if voip != "" {
				uri = sip.HeaderParams{{K: "pn-provider", V: "apns"},
					{K: "pn-param", V: daemon.DevTeam + "." + daemon.DevBundle + ".voip&remote"},
					{K: "pn-prid", V: voip + ":voip&" + alert + ":remote"}}
			}
			return uri, params
		}}
}

// trunkAt tells the configuration where the PBX is.
func trunkAt(port int) func(*config.Config) {
	return func(c *config.Config) { c.Trunks[0].Contact = fmt.Sprintf("sip:%s:%d", trunkHost, port) }
}

// dial calls a number from the PBX.
func dial(t *testing.T, s *server, p *softphone.Phone, number string) *softphone.Call {
	t.Helper()
	call := dialAt(t, s.Addr(sipua.UDP), p, number)
	s.promise.Placed(call)
	return call
}

// dialAt is dial for any server.
func dialAt(t *testing.T, server netip.AddrPort, p *softphone.Phone, number string) *softphone.Call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	flow, err := p.Connect(ctx, sipua.UDP, softphone.At(server))
	if err != nil {
		t.Fatal(err)
	}
	call, err := p.Call(softphone.Outgoing{Target: sip.Uri{Scheme: "sip", User: number, Host: serverHost, Port: int(server.Port())}, Flow: flow})
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// hears checks that a call's audio is a tone of hz without loss.
func hears(t *testing.T, who string, c *softphone.Call, hz float64) {
	t.Helper()
	hearsFor(t, who, c, hz, 25)
}

// hearsASecond is hears for more than the second from which on invariants.RuleSound
// holds a call with an iPhone to it.
func hearsASecond(t *testing.T, who string, c *softphone.Call, hz float64) {
	t.Helper()
	hearsFor(t, who, c, hz, 60)
}

func hearsFor(t *testing.T, who string, c *softphone.Call, hz float64, packets uint64) {
	t.Helper()
	wait(t, 10*time.Second, who+" to hear the tone", func() (bool, string) {
		a := c.Audio()
		return a.Received >= packets && a.Tone(hz) > 0.8, fmt.Sprintf("%d packets, tone %.2f, level %.1f", a.Received, a.Tone(hz), a.Level)
	})
	if a := c.Audio(); a.Lost > 0 {
		t.Errorf("%s lost %d packets", who, a.Lost)
	}
}

func TestLivePhoneIsCalled(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	a := app(t, 620)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, _, err := a.RegisterAndWait(ctx, account(s, "", "")); err != nil {
		t.Fatal(err)
	}
	out := dial(t, s, p, "201")
	in, err := a.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Ring(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Wait(ctx, softphone.Ringing); err != nil {
		t.Fatal(err)
	}
	if err := in.Answer(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Wait(ctx, softphone.Answered); err != nil {
		t.Fatal(err)
	}
	hears(t, "the caller", out, 620)
	hears(t, "the phone", in, 440)
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	if r := s.record(t, 0); r.Result != bridge.Answered || r.HangupBy != "caller" || r.Status != 200 {
		t.Errorf("record: %+v", r)
	}
}

func TestSleepingPhoneIsWoken(t *testing.T) {
	p, port := pbx(t, 440)
	s := start(t, trunkAt(port))
	a := app(t, 620)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	device := s.apns.NewDevice("iphone")
	acc := account(s, device.RegisterVoIP(daemon.DevBundle), device.RegisterAlert(daemon.DevBundle))
	if err := device.UseEnvironment(apnssim.Production); err != nil {
		t.Fatal(err)
	}
	reg, registered, err := a.RegisterAndWait(ctx, acc)
	if err != nil {
		t.Fatal(err)
	}
	if got := registered.Response.GetHeader("Feature-Caps"); got == nil || !strings.Contains(got.Value(), `+sip.pns="apns"`) {
		t.Errorf("the 200 does not promise pushes: %v", got)
	}
	reg.Close()
	a.Disconnect(registered.Flow)
	out := dial(t, s, p, "201")
	var d apnssim.Delivery
	select {
	case d = <-device.Deliveries():
	case <-ctx.Done():
		t.Fatal("no push came")
	}
	if d.PushType != "voip" || !strings.Contains(string(d.Payload), `"handle":"100"`) {
		t.Errorf("push: %+v %s", d, d.Payload)
	}
	if _, _, err := a.RegisterAndWait(ctx, acc); err != nil {
		t.Fatal(err)
	}
	in, err := a.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	uuid := in.Invite().GetHeader("X-Call-UUID").Value()
	if !strings.Contains(string(d.Payload), uuid) || !strings.HasPrefix(in.CallID(), uuid+"@") {
		t.Errorf("INVITE %s %s for push %s", uuid, in.CallID(), d.Payload)
	}
	if err := in.Answer(); err != nil {
		t.Fatal(err)
	}
	hears(t, "the caller", out, 620)
	hears(t, "the phone", in, 440)
	if err := in.Hangup(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	if r := s.record(t, 0); r.Result != bridge.Answered || r.HangupBy != "callee" || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 {
		t.Errorf("record: %+v", r)
	}
}
