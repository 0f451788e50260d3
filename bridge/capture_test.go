package bridge_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"wakebridge/bridge"
	"wakebridge/bridge/media/capture"
)

// withCaptures runs a test in a world that captures calls, of RTP the headers.
func withCaptures(t *testing.T, calls capture.Calls, change func(*options), test func(*world, *capture.Store)) {
	t.Helper()
	withCapturesOf(t, capture.Config{Calls: calls}, change, test)
}

// withCapturesOf runs a test in a world that captures the calls and packets of c.
func withCapturesOf(t *testing.T, c capture.Config, change func(*options), test func(*world, *capture.Store)) {
	t.Helper()
	dir := t.TempDir()
	var store *capture.Store
	inWorld(t, func(o *options) {
		var err error
		c.Dir, c.Keep, c.MaxBytes, c.Redact = dir, time.Hour, 1<<30, bridge.Redact(c.Whole)
		store, err = capture.New(c)
		if err != nil {
			t.Fatal(err)
		}
		o.captures = store
		if change != nil {
			change(o)
		}
	}, func(w *world) {
		defer store.Close()
		test(w, store)
	})
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if strings.HasSuffix(e.Name(), ".part") {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// captured is a packet in a capture.
type captured struct {
	face     string // its interface
	ends     gopacket.Flow
	payload  []byte // of UDP
	comments []string
}

// packets are those of a call's capture.
func (w *world) packets(s *capture.Store, id string) (all []captured) {
	w.t.Helper()
	f, err := s.Open(id)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		w.t.Fatal(err)
	}
	for {
		data, ci, opts, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			w.t.Fatal(err)
		}
		face, err := r.Interface(ci.InterfaceIndex)
		if err != nil {
			w.t.Fatal(err)
		}
		p := gopacket.NewPacket(data, layers.LinkTypeEthernet, gopacket.Default)
		all = append(all, captured{face.Name, p.NetworkLayer().NetworkFlow(), p.TransportLayer().LayerPayload(), opts.Comments})
	}
}

// frames are the packets of a capture: of SIP "FROM > TO START-LINE", of media "FROM >
// TO rtp", of comments their text; FROM and TO without ports.
func (w *world) frames(s *capture.Store, id string) (sip, media, comments []string) {
	w.t.Helper()
	for _, p := range w.packets(s, id) {
		switch p.face {
		case "sip":
			line, _, _ := strings.Cut(string(p.payload), "\r\n")
			sip = append(sip, fmt.Sprintf("%s > %s %s", p.ends.Src(), p.ends.Dst(), line))
		case "media":
			media = append(media, fmt.Sprintf("%s > %s rtp", p.ends.Src(), p.ends.Dst()))
		default:
			comments = append(comments, p.comments...)
		}
	}
	return sip, media, comments
}

// The messages of both legs are there, from the first INVITE to the answer to the last
// BYE, what a push came to, and each packet in and out.
func TestCaptureOfAWokenCall(t *testing.T) {
	withCaptures(t, capture.All, nil, func(w *world, s *capture.Store) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va-of-alice")
		w.waker.answer = func(bridge.Wake) *bridge.WakeResult {
			return &bridge.WakeResult{Accepted: true, Service: "APNs", Environment: "sandbox", ID: "apns-1", Latency: 7 * time.Millisecond}
		}
		a := pbx.call("alice")
		token := w.pushed(1)[0].Push.VoIP.Value
		w.pass(2 * time.Second)
		phone.register(alice)
		b := phone.invited(0)
		b.ring()
		b.pickUp()
		w.pass(time.Second)
		w.speak(pbx, phone)
		a.hangUp()
		w.pass(10 * time.Second)
		sip, media, comments := w.frames(s, w.record().ID)
		sip = slices.DeleteFunc(sip, func(m string) bool { // left out where the 180 is as fast
			return m == "10.0.0.1 > 10.0.0.2 SIP/2.0 100 Trying"
		})
		want := []string{
			"10.0.0.2 > 10.0.0.1 INVITE sip:alice@10.0.0.1 SIP/2.0", "10.0.0.1 > 10.0.0.2 SIP/2.0 180 Ringing",
			"10.0.0.1 > 10.0.0.3 INVITE", "10.0.0.3 > 10.0.0.1 SIP/2.0 100 Trying", "10.0.0.3 > 10.0.0.1 SIP/2.0 180 Ringing",
			"10.0.0.3 > 10.0.0.1 SIP/2.0 200 OK", "10.0.0.1 > 10.0.0.3 ACK", "10.0.0.1 > 10.0.0.2 SIP/2.0 200 OK",
			"10.0.0.2 > 10.0.0.1 ACK", "10.0.0.2 > 10.0.0.1 BYE", "10.0.0.1 > 10.0.0.2 SIP/2.0 200 OK", "10.0.0.1 > 10.0.0.3 BYE", "10.0.0.3 > 10.0.0.1 SIP/2.0 200 OK",
		}
		for _, x := range want {
			if !slices.ContainsFunc(sip, func(m string) bool { return strings.HasPrefix(m, x) }) {
				t.Errorf("no %q in %q", x, sip)
			}
		}
		if len(sip) != len(want) || !strings.HasPrefix(sip[0], want[0]) {
			t.Errorf("%d messages: %q", len(sip), sip)
		}
		slices.Sort(media)
		if got := strings.Join(media, ", "); got != "10.0.0.1 > 10.0.0.2 rtp, 10.0.0.1 > 10.0.0.3 rtp, 10.0.0.2 > 10.0.0.1 rtp, 10.0.0.3 > 10.0.0.1 rtp" {
			t.Error(got)
		}
		text := strings.Join(comments, "\n")
		masked := "…" + token[len(token)-4:]
		for _, x := range []string{"VoIP push accepted by APNs (sandbox) after 7 ms", "environment sandbox, app com.example.phone, token " + masked + ", id apns-1", "registered", "call over: answered, 200"} {
			if !strings.Contains(text, x) {
				t.Errorf("no %q in %s", x, text)
			}
		}
		if strings.Contains(text, token) {
			t.Errorf("the token: %s", text)
		}
	})
}

// A call to a trunk has both its legs too, and what is said after the call is over is
// still its.
func TestCaptureOfACallToATrunk(t *testing.T) {
	withCaptures(t, capture.All, nil, func(w *world, s *capture.Store) {
		user, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
		a := user.call("900")
		b := pbx.invited(0)
		b.refuse(486)
		w.pass(10 * time.Second)
		if told := a.told(); !strings.Contains(told, "486") {
			t.Error(told)
		}
		sip, _, comments := w.frames(s, w.record().ID)
		for _, x := range []string{"10.0.0.5 > 10.0.0.1 INVITE", "10.0.0.1 > 10.0.0.2 INVITE", "10.0.0.2 > 10.0.0.1 SIP/2.0 486", "10.0.0.1 > 10.0.0.2 ACK", "10.0.0.1 > 10.0.0.5 SIP/2.0 486", "10.0.0.5 > 10.0.0.1 ACK"} {
			if !slices.ContainsFunc(sip, func(m string) bool { return strings.HasPrefix(m, x) }) {
				t.Errorf("no %q in %q", x, sip)
			}
		}
		if text := strings.Join(comments, "\n"); !strings.Contains(text, "call over: busy, 486") {
			t.Error(text)
		}
	})
}

// Which calls are failed ones.
func TestCaptureOfFailedCalls(t *testing.T) {
	talk := func(w *world, who ...*ua) {
		for _, u := range who {
			if _, err := u.rtp.WriteTo(rtpPacket(1), net.UDPAddrFromAddrPort(u.target())); err != nil {
				w.t.Fatal(err)
			}
		}
		w.settle()
	}
	for name, c := range map[string]struct {
		call func(w *world, pbx, phone *ua, a *dialog)
		kept bool
	}{
		"talked": {func(w *world, pbx, phone *ua, a *dialog) {
			phone.invited(0).pickUp()
			talk(w, pbx, phone)
			a.hangUp()
		}, false},
		"silent, and hung up": {func(_ *world, _, phone *ua, _ *dialog) {
			d := phone.invited(0)
			d.pickUp()
			d.hangUp()
		}, false},
		"one-way": {func(w *world, pbx, phone *ua, a *dialog) {
			phone.invited(0).pickUp()
			talk(w, pbx)
			a.hangUp()
		}, true},
		"no media any more": {func(w *world, pbx, phone *ua, _ *dialog) {
			phone.invited(0).pickUp()
			talk(w, pbx, phone)
			w.pass(2 * time.Minute)
		}, true},
		"cancelled": {func(_ *world, _, _ *ua, a *dialog) { a.giveUp() }, true},
		"declined":  {func(_ *world, _, phone *ua, _ *dialog) { phone.invited(0).refuse(603) }, true},
		"no answer": {func(w *world, _, _ *ua, _ *dialog) { w.pass(time.Minute) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			withCaptures(t, capture.Failed, nil, func(w *world, s *capture.Store) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				c.call(w, pbx, phone, a)
				w.pass(time.Minute)
				f, err := s.Open(w.record().ID)
				if kept := err == nil; kept != c.kept || err != nil && !errors.Is(err, capture.ErrNone) {
					t.Errorf("kept %t, %v: %+v", kept, err, w.record())
				}
				if err == nil {
					w.must(f.Close())
				}
			})
		})
	}
}

// A bridge that closes leaves no capture open.
func TestCaptureEndsWithTheBridge(t *testing.T) {
	withCaptures(t, capture.All, nil, func(w *world, s *capture.Store) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		pbx.call("alice")
		phone.invited(0).pickUp()
		w.bridge.Close(w.t.Context())
		w.pass(10 * time.Second)
		if sip, _, _ := w.frames(s, w.record().ID); !strings.Contains(strings.Join(sip, "\n"), "BYE") {
			t.Errorf("%q", sip)
		}
	})
}

func TestSuitesOfWhatIsNoSRTP(t *testing.T) {
	const message = "INVITE sip:a@h SIP/2.0\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abcd|2^31\r\na=x_y:1\r\na=crypto:2\r\na=crypto:"
	for whole, want := range map[bool]string{
		true:  "INVITE sip:a@h SIP/2.0\r\n\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxx|2^31\r\na=x_y:1\r\na=crypto:2\r\na=crypto:",
		false: "INVITE sip:a@h SIP/2.0\r\n\r\na=crypto:1 AES-CM-128-HMAC-SHA1-80 inline:xxxx|2^31\r\na=x_y:1\r\na=crypto:2\r\na=crypto:",
	} {
		b := []byte(message)
		bridge.Redact(whole)(b)
		if string(b) != want {
			t.Errorf("%q", b)
		}
	}
}
