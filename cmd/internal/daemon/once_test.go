package daemon

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/location"
)

// bedroom is a server on real sockets with a PBX and a phone of alice's that
// sleeps.
type bedroom struct {
	dev   *Development
	d     *Daemon
	pbx   *pbx
	calls chan bridge.Record
}

func newBedroom(t *testing.T, change func(*config.Config)) *bedroom {
	t.Helper()
	b := &bedroom{dev: development(t), pbx: peerAt(t, trunkHost), calls: make(chan bridge.Record, 10)}
	b.dev.Config.Trunks[0].Contact, b.dev.Config.Trunks[0].Qualify = "sip:"+b.pbx.addr(), 0
	if change != nil {
		change(b.dev.Config)
	}
	opts := quiet()
	opts.Recorded = func(r bridge.Record) { b.calls <- r }
	var err error
	if b.d, err = New(t.Context(), b.dev.Config, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(b.d) })
	b.pbx.of(b.d)
	phone := b.dev.APNs.NewDevice("phone")
	now := time.Now()
	b.d.registrar.Edit(location.Upsert{AOR: callee, Announced: location.Tokens,
		Binding: location.Binding{Contact: "<sip:alice@10.0.0.3>", Instance: "urn:uuid:1", Registered: now, Expires: now.Add(time.Hour)},
		Push: location.PushInfo{Provider: "apns", BundleID: DevBundle, TeamID: DevTeam,
			VoIP: location.Token{Value: phone.RegisterVoIP(DevBundle), Kind: location.VoIP}}})
	soon(t, "the phone is known", func() bool { return len(b.d.Memory().Devices(callee)) == 1 })
	return b
}

// A PBX that does not hear us in time repeats its INVITE, byte for byte.
func TestRetransmittedInvitePushesOnceOverAPNs(t *testing.T) {
	b := newBedroom(t, func(c *config.Config) { c.Calls.MergeWindow = 0 })
	invite := b.pbx.request("INVITE", "sip:201@127.0.0.1", sdpAt(trunkHost))
	for range 3 {
		b.pbx.write(invite)
	}
	b.pbx.read("SIP/2.0 180")
	for range 3 {
		b.pbx.write(invite)
	}
	b.pbx.read("SIP/2.0 180") // the answer to a repetition is the last one again: it was looked at
	b.pbx.again(invite, "CANCEL", "")
	b.pbx.read("SIP/2.0 487")
	r := <-b.calls
	stop(b.d) // nothing is on its way any more
	sent := b.dev.APNs.Requests(apnssim.Filter{})
	if len(sent) != 1 || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 || len(b.calls) != 0 {
		t.Fatalf("%d requests, record %+v", len(sent), r)
	}
	if p := r.Attempts[0].Pushes[0]; p.ID != sent[0].APNsID || !strings.HasPrefix(p.Words, "VoIP push accepted by APNs (production) after ") {
		t.Errorf("record: %+v", p)
	}
}

// tarpit takes connections and says nothing.
func tarpit(t *testing.T) (url string, accepted <-chan struct{}) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, done := make(chan struct{}, 100), make(chan struct{})
	go func() { // awaited below
		defer close(done)
		var conns []net.Conn
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
			came <- struct{}{}
		}
		for _, c := range conns {
			c.Close()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-done
	})
	return "https://" + ln.Addr().String(), came
}

// The caller gives up while the push still waits for its connection: none is sent.
func TestCancelBeforeThePushLeaves(t *testing.T) {
	url, accepted := tarpit(t)
	b := newBedroom(t, func(c *config.Config) {
		c.Push.APNs.Production, c.Push.APNs.Sandbox = url, url
		c.Push.Ringing = "at_once" // the 180 says that the device was found, and its push ordered
	})
	<-accepted
	invite := b.pbx.request("INVITE", "sip:201@127.0.0.1", sdpAt(trunkHost))
	b.pbx.read("SIP/2.0 180")
	b.pbx.again(invite, "CANCEL", "")
	b.pbx.read("SIP/2.0 487")
	r := <-b.calls
	if r.Result != bridge.Cancelled || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 0 ||
		!strings.Contains(r.Attempts[0].NotPushed, "stopped before it left") {
		t.Errorf("record: %+v", r)
	}
	begin := time.Now()
	stop(b.d)
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("the push held the end up for %s", took)
	}
}

// The same while the push waits for a place in flight: the push service answers
// none of those before it.
func TestCancelWhileThePushWaitsForAPlace(t *testing.T) {
	const places = 200 // of one app
	p := newPushing(t, nil)
	phone := p.phone(apnssim.Production)
	d := p.registers(phone.RegisterVoIP(DevBundle), "")
	if r := p.wake(wakeOf(d)); !r.Accepted { // until then APNs allows one stream
		t.Fatalf("%+v", r)
	}
	if _, err := p.dev.APNs.AddFault(apnssim.Rule{Action: apnssim.Action{Fault: apnssim.Hang}}); err != nil {
		t.Fatal(err)
	}
	before, end := context.WithCancel(t.Context())
	defer end()
	for range places {
		p.waker.Wake(before, wakeOf(d), func(bridge.WakeResult) {})
	}
	patience, done := context.WithTimeout(t.Context(), 20*time.Second)
	defer done()
	if _, err := p.dev.APNs.WaitRequests(patience, apnssim.Filter{}, 1+places); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	late := wakeOf(d)
	late.UUID = "5f0f5b1c-0000-4000-8000-00000000ffff"
	reports := make(chan bridge.WakeResult, 1)
	p.waker.Wake(ctx, late, func(r bridge.WakeResult) { reports <- r })
	cancel()
	end() // now there are places
	p.shut()
	for _, e := range p.dev.APNs.Requests(apnssim.Filter{}) {
		if strings.Contains(string(e.Payload), late.UUID) {
			t.Fatal("the push of a cancelled call was sent")
		}
	}
	if r := <-reports; !r.Stopped || !r.Written.IsZero() {
		t.Errorf("reported: %+v", r)
	}
}
