package bridge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/pion/rtp"

	"wakebridge/bridge"
	"wakebridge/bridge/media/capture"
	"wakebridge/bridge/media/dtmf"
	"wakebridge/bridge/sdp"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

const ms = time.Millisecond

// keySDP is the ua's description with telephone events, or without.
func (u *ua) keySDP(events bool) []byte {
	if !events {
		return u.sdp()
	}
	body := u.sdp("a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-16")
	return bytes.Replace(body, []byte("RTP/AVP 0 8"), []byte("RTP/AVP 0 8 101"), 1)
}

// shownEvents are the payload types of telephone events in a body.
func shownEvents(t *testing.T, body []byte) string {
	t.Helper()
	d, err := sdp.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(fmt.Sprint(d.Streams()[0].Events()), "map")
}

// parties are the two legs of a call that may press keys.
type parties struct {
	w    *world
	a, b *dialog
	sdpB string // telephone events that b was offered
	sdpA string // and that a was answered
}

// keyCall is a call of the PBX to a phone; events says whose SDP has telephone events.
func keyCall(w *world, eventsA, eventsB bool) parties {
	w.t.Helper()
	pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
	phone.register(alice)
	p := parties{w: w, a: pbx.call("alice", func(i *leg.Invite) { i.Body = pbx.keySDP(eventsA) })}
	p.b = phone.invited(0)
	p.sdpB = shownEvents(w.t, p.b.invite.Body())
	p.b.must(func() error { return p.b.Answer(phone.keySDP(eventsB)) })
	p.sdpA = shownEvents(w.t, last[leg.Answered](p.a).Body)
	return p
}

// sendInfo sends an INFO; its outcome comes later.
func (d *dialog) sendInfo(contentType, body string, headers ...sip.Header) {
	d.u.w.t.Helper()
	d.must(func() error { _, err := d.Info(contentType, []byte(body), headers...); return err })
}

// infoStatus is the outcome of the newest INFO, 0 while there is none.
func (d *dialog) infoStatus() int {
	status := 0
	d.u.do(func() {
		for _, e := range d.events {
			if e, ok := e.(leg.InfoAnswered); ok {
				status = e.Status
			}
		}
	})
	return status
}

// takeInfos answers each INFO that comes.
func (d *dialog) takeInfos(status int) {
	d.u.do(func() {
		d.on = func(e leg.Event) {
			if e, ok := e.(leg.Info); ok {
				if err := d.AnswerInfo(e, status, ""); err != nil {
					d.u.w.t.Error(err)
				}
			}
		}
	})
}

// infos are the bodies of the INFO that came.
func (d *dialog) infos() string {
	var all []string
	d.u.do(func() {
		for _, e := range d.events {
			if e, ok := e.(leg.Info); ok {
				body := strings.TrimSuffix(strings.ReplaceAll(string(e.Body), "\r\n", "|"), "|")
				all = append(all, strings.TrimPrefix(e.ContentType, "application/")+":"+body)
			}
		}
	})
	return strings.Join(all, " ")
}

// press sends a key as telephone events, as a phone does.
func (d *dialog) press(name string, duration time.Duration) {
	t := d.u.w.t
	t.Helper()
	event, err := dtmf.ParseEvent(name)
	if err != nil {
		t.Fatal(err)
	}
	encoder := dtmf.NewEncoder(dtmf.Press{Event: event, Duration: duration}, 8000, uint32(time.Now().UnixMilli()*8)) //nolint:gosec // wraps
	start, to, seq := time.Now(), net.UDPAddrFromAddrPort(d.u.target()), uint16(time.Now().UnixMilli()/20)           //nolint:gosec // wraps
	for p, more := encoder.Next(); more; p, more = encoder.Next() {
		time.Sleep(time.Until(start.Add(p.Due)))
		seq++
		pkt := rtp.Packet{Header: rtp.Header{Version: 2, Marker: p.Marker, PayloadType: 101, SSRC: 77, SequenceNumber: seq, Timestamp: p.Timestamp}, Payload: p.Payload[:]}
		b, err := pkt.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.u.rtp.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
	}
	d.u.w.settle()
}

// keys are the telephone events that came since it was asked last, and how many
// packets they were.
func (d *dialog) keys() (keys string, packets int) {
	t := d.u.w.t
	t.Helper()
	detector := dtmf.NewDetector(map[uint8]uint32{101: 8000, 96: 8000, 110: 8000}, func(p dtmf.Press) {
		keys += fmt.Sprintf("%s/%v ", p.Event.Name(), p.Duration)
	})
	buf := make([]byte, 2000)
	for {
		if err := d.u.rtp.SetReadDeadline(time.Now().Add(ms)); err != nil {
			t.Fatal(err)
		}
		n, _, err := d.u.rtp.ReadFrom(buf)
		if err != nil {
			return strings.TrimSpace(keys), packets
		}
		var p rtp.Packet
		if err := p.Unmarshal(buf[:n]); err != nil {
			t.Fatal(err)
		}
		if p.PayloadType >= 96 {
			packets++
			detector.Packet(&p.Header, p.Payload, time.Now())
		}
	}
}

// Who has telephone events, who takes INFO, what media.dtmf says: what the
// descriptions show, and what becomes of a key that a presses.
func TestDTMFWays(t *testing.T) {
	const none = "[]"
	type row struct {
		mode             bridge.DTMF
		eventsA, infoA   bool
		eventsB, infoB   bool
		offered          string // to b
		answered         string // to a
		infoStatus       int    // to an INFO of a, which nobody else refuses
		infoTo, eventsTo string // what b got of an INFO, and of an event; "": nothing
	}
	const i160, e160 = "dtmf-relay:Signal=5|Duration=160", "5/160ms"
	for i, r := range []row{
		// Both have events: those pass, INFO becomes one.
		{bridge.DTMFAuto, true, true, true, true, "[101:8000]", "[101:8000]", 200, e160, e160},
		{bridge.DTMFAuto, true, false, true, false, "[101:8000]", "[101:8000]", 200, e160, e160},
		{bridge.DTMFEvents, true, true, true, true, "[101:8000]", "[101:8000]", 200, e160, e160},
		{bridge.DTMFInfo, true, true, true, true, "[101:8000]", "[101:8000]", 200, i160, i160},
		{bridge.DTMFInfo, true, true, true, false, "[101:8000]", "[101:8000]", 200, e160, e160},
		// The callee has INFO only.
		{bridge.DTMFAuto, true, true, false, true, "[101:8000]", "[101:8000]", 200, i160, i160},
		{bridge.DTMFAuto, true, false, false, true, "[101:8000]", "[101:8000]", 200, i160, i160},
		{bridge.DTMFInfo, true, false, false, true, "[101:8000]", "[101:8000]", 200, i160, i160},
		{bridge.DTMFEvents, true, true, false, true, "[101:8000]", none, 415, "", e160},
		// It has neither: events go where they always went.
		{bridge.DTMFAuto, true, true, false, false, "[101:8000]", none, 415, "", e160},
		// The caller has INFO only.
		{bridge.DTMFAuto, false, true, true, true, "[101:8000]", none, 200, e160, "-"},
		{bridge.DTMFAuto, false, true, true, false, "[101:8000]", none, 200, e160, "-"},
		{bridge.DTMFEvents, false, true, false, true, none, none, 415, "", "-"},
		{bridge.DTMFInfo, false, true, false, true, none, none, 200, i160, "-"},
		// Both have INFO only.
		{bridge.DTMFAuto, false, true, false, true, "[101:8000]", none, 200, i160, "-"},
		{bridge.DTMFAuto, false, false, false, true, none, none, 200, i160, "-"},
		{bridge.DTMFAuto, false, false, false, false, none, none, 415, "", "-"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			inWorld(t, func(o *options) {
				o.terms.DTMF = r.mode
				o.infos = map[netip.Addr]bool{pbxHost: r.infoA, phoneHost: r.infoB}
			}, func(w *world) {
				p := keyCall(w, r.eventsA, r.eventsB)
				p.b.takeInfos(200)
				if p.sdpB != r.offered || p.sdpA != r.answered {
					t.Errorf("offered %s, answered %s", p.sdpB, p.sdpA)
				}
				got := func(infos int) string {
					all := strings.Fields(p.b.infos())
					events, _ := p.b.keys()
					return strings.TrimSpace(strings.Join(append(all[infos:], events), " "))
				}
				if r.eventsTo != "-" { // before it used INFO
					p.a.press("5", 160*ms)
					w.pass(time.Second)
					if s := got(0); s != r.eventsTo {
						t.Errorf("an event came as %q", s)
					}
				}
				before := len(strings.Fields(p.b.infos()))
				p.a.sendInfo("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n")
				w.pass(time.Second)
				if status, s := p.a.infoStatus(), got(before); status != r.infoStatus || s != r.infoTo {
					t.Errorf("INFO: %d, came as %q", status, s)
				}
				p.a.hangUp()
			})
		})
	}
}

// The key has the marker, its length, three ends, and is not among the voice.
func TestDTMFInfoToEvents(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, true)
		for _, k := range [][2]string{{"application/dtmf-relay", "Signal=1\r\nDuration=100\r\n"}, {"application/dtmf", "#"}, {"application/dtmf-relay", "Signal=10\r\nDuration=60000"}} {
			p.b.sendInfo(k[0], k[1])
			if s := p.b.infoStatus(); s != 200 {
				t.Errorf("%s: %d", k[1], s)
			}
		}
		w.pass(6 * time.Second)
		keys, packets := p.a.keys()
		if want := "1/100ms #/250ms */5s"; keys != want {
			t.Errorf("keys %s, want %s", keys, want)
		}
		if want := 5 + 13 + 250 + 3*2 + 5; packets != want {
			t.Errorf("%d packets, want %d", packets, want)
		}
		if x, y := w.speak(p.a.u, p.b.u); x != 1 || y != 1 {
			t.Errorf("%d and %d packets of voice", x, y)
		}
		p.a.hangUp()
		r := w.record()
		if r.DTMF == nil || *r.DTMF != (bridge.DTMFRecord{ToEvents: 3}) {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}

// A leg is sent no event that it does not take (RFC 4733 s2.5.1.1).
func TestDTMFEventsThatAreTaken(t *testing.T) {
	for fmtp, status := range map[string]int{"0-16": 200, "0-15": 415, "": 415} {
		inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{phoneHost: true} }, func(w *world) {
			pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
			phone.register(alice)
			a := pbx.call("alice", func(i *leg.Invite) {
				i.Body = bytes.Replace(pbx.keySDP(true), []byte("a=fmtp:101 0-16\r\n"), nil, 1)
				if fmtp != "" {
					i.Body = bytes.Replace(pbx.keySDP(true), []byte("0-16"), []byte(fmtp), 1)
				}
			})
			b := phone.invited(0)
			b.must(func() error { return b.Answer(phone.keySDP(false)) })
			b.sendInfo("application/dtmf-relay", "Signal=hf\r\nDuration=100\r\n")
			w.pass(time.Second)
			if keys, n := a.keys(); b.infoStatus() != status || n > 0 != (status == 200) {
				t.Errorf("%q: flash was answered %d, and came as %q", fmtp, b.infoStatus(), keys)
			}
			b.sendInfo("application/dtmf", "D")
			w.pass(time.Second)
			if keys, _ := a.keys(); b.infoStatus() != 200 || keys != "D/250ms" {
				t.Errorf("%q: D was answered %d, and came as %q", fmtp, b.infoStatus(), keys)
			}
			a.hangUp()
		})
	}
}

// An INFO that cannot be a key is refused as its fault asks for.
func TestDTMFRefusals(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, true)
		for _, c := range []struct {
			contentType, body string
			headers           []sip.Header
			status            int
		}{
			{"application/dtmf-relay", "Signal=E\r\n", nil, 400},
			{"application/dtmf-relay", "Duration=100\r\n", nil, 400},
			{"application/dtmf-relay", "Signal=1\r\nDuration=x\r\n", nil, 400},
			{"application/dtmf", "12345", nil, 400},
			{"application/media_control+xml", "<x/>", nil, 415},
			{"text/plain", "5", nil, 415},
			{"application/dtmf", "5", []sip.Header{sip.NewHeader("Info-Package", "foo")}, 469},
			{"", "", nil, 200},
			{"application/dtmf", "", nil, 200}, // without a body no type is sent
		} {
			p.b.sendInfo(c.contentType, c.body, c.headers...)
			if s := p.b.infoStatus(); s != c.status {
				t.Errorf("%s %q: %d, want %d", c.contentType, c.body, s, c.status)
			}
		}
		w.pass(2 * time.Second)
		if keys, n := p.a.keys(); n != 0 {
			t.Errorf("%d packets of keys %s", n, keys)
		}
		p.a.hangUp()
	})
}

// Before the answer a key is for whom the caller hears already. If that is nobody, or has
// no telephone events, the caller may try later: it is told nothing that ends a call.
func TestDTMFBeforeTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		early, eventsA, eventsB bool
		status                  int
		keys                    string
	}{
		"ringing":                    {false, false, true, 500, ""},
		"heard":                      {true, false, true, 200, "5/100ms"},
		"heard, without events":      {true, false, false, 500, ""},
		"the caller has them itself": {true, true, true, 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{pbxHost: true} }, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice", func(i *leg.Invite) { i.Body = pbx.keySDP(tt.eventsA) })
				b := phone.invited(0)
				if b.ring(); tt.early {
					b.must(func() error { return b.Progress(183, phone.keySDP(tt.eventsB)) })
				}
				ringing := last[leg.Provisional](a).Response
				req := sip.NewRequest(sip.INFO, sip.Uri{Scheme: "sip", User: "alice", Host: serverHost.String()})
				for _, h := range []sip.Header{ringing.From(), ringing.To(), ringing.CallID(), &sip.CSeqHeader{SeqNo: 2, MethodName: sip.INFO}, sip.NewHeader("Content-Type", "application/dtmf-relay")} {
					req.AppendHeader(sip.HeaderClone(h))
				}
				req.SetBody([]byte("Signal=5\r\nDuration=100\r\n"))
				var res *sip.Response
				if _, err := pbx.ep.Request(pbx.flow, req, func(r *sip.Response, err error) {
					if err == nil {
						res = r
					}
				}); err != nil {
					t.Fatal(err)
				}
				w.pass(time.Second)
				if res == nil || res.StatusCode != tt.status || (tt.status == 500) != (sipua.Value(res, "Retry-After") != "") {
					t.Errorf("INFO before the answer: %v", res)
				}
				if keys, _ := b.keys(); keys != tt.keys {
					t.Errorf("the phone heard %q", keys)
				}
				b.must(func() error { return b.Answer(phone.keySDP(tt.eventsB)) })
				b.hangUp() // the caller's next CSeq is spent
			})
		})
	}
}

// Where media.allow has no telephone events, none are added on anybody's behalf.
func TestDTMFNotAllowed(t *testing.T) {
	inWorld(t, func(o *options) {
		o.infos = map[netip.Addr]bool{pbxHost: true, phoneHost: true}
		o.terms.Codecs = []string{"ulaw", "alaw"}
	}, func(w *world) {
		p := keyCall(w, false, false)
		if p.sdpA != "[]" || p.sdpB != "[]" {
			t.Errorf("offered %s, answered %s", p.sdpB, p.sdpA)
		}
		p.b.takeInfos(200)
		p.a.sendInfo("application/dtmf", "5")
		if s := p.a.infoStatus(); s != 200 || p.b.infos() != "dtmf:5" {
			t.Errorf("INFO: %d, came as %s", s, p.b.infos())
		}
		p.a.hangUp()
	})
}

// Keys go to a leg by INFO one after the other, in order, however slow it is.
func TestDTMFOrder(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{pbxHost: true, phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, false)
		for _, k := range []string{"1", "2", "3"} {
			p.a.press(k, 60*ms)
			w.pass(100 * ms)
		}
		if got := p.b.infos(); got != "dtmf-relay:Signal=1|Duration=60" {
			t.Errorf("before its answer the phone was told %s", got)
		}
		first := last[leg.Info](p.b)
		p.b.takeInfos(200)
		p.b.must(func() error { return p.b.AnswerInfo(first, 200, "") })
		w.pass(time.Second)
		if got := p.b.infos(); got != "dtmf-relay:Signal=1|Duration=60 dtmf-relay:Signal=2|Duration=60 dtmf-relay:Signal=3|Duration=60" {
			t.Errorf("the phone was told %s", got)
		}
		p.a.hangUp()
		r := w.record()
		if r.DTMF == nil || *r.DTMF != (bridge.DTMFRecord{ToInfo: 3}) {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}

// A refusal reaches who asked, in words that fit its own dialog, and is counted.
func TestDTMFRefused(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{pbxHost: true, phoneHost: true} }, func(w *world) {
		p := keyCall(w, false, false)
		for status, want := range map[int]int{415: 415, 481: 488, 603: 603, 202: 200} {
			p.b.takeInfos(status)
			p.a.sendInfo("application/dtmf", "4")
			if s := p.a.infoStatus(); s != want {
				t.Errorf("%d came as %d", status, s)
			}
		}
		p.a.hangUp()
		r := w.record()
		if r.DTMF == nil || *r.DTMF != (bridge.DTMFRecord{Relayed: 1, Lost: 3}) {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}

// More keys than may wait are refused, and the call goes on.
func TestDTMFFlood(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, false)
		statuses := make(map[int]int)
		for range 40 {
			p.b.sendInfo("application/dtmf-relay", "Signal=5\r\nDuration=5000\r\n")
			statuses[p.b.infoStatus()]++
		}
		if statuses[200] < 32 || statuses[200] > 33 || statuses[200]+statuses[503] != 40 {
			t.Errorf("statuses %v", statuses)
		}
		p.b.hangUp()
		if r := w.record(); r.DTMF == nil || r.DTMF.Lost != statuses[503] || r.Result != bridge.Answered {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}

// A hold by either side, whose offer may not have events, takes them from nobody.
func TestDTMFAfterReinvite(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, false)
		p.b.takeInfos(200)
		hold := func(from, to *dialog, own, its bool, wantOffer, wantAnswer string) {
			t.Helper()
			from.must(func() error { return from.Reinvite(from.u.keySDP(own)) })
			if got := shownEvents(t, last[leg.Offer](to).Body); got != wantOffer {
				t.Errorf("offer with %s", got)
			}
			to.must(func() error { return to.AnswerOffer(to.u.keySDP(its)) })
			if got := last[leg.OfferAnswered](from); got.Status != 200 || shownEvents(t, got.Body) != wantAnswer {
				t.Errorf("answer %d with %s", got.Status, shownEvents(t, got.Body))
			}
			w.pass(time.Second)
		}
		hold(p.b, p.a, false, true, "[101:8000]", "[]")
		p.a.press("7", 80*ms)
		hold(p.a, p.b, true, false, "[101:8000]", "[101:8000]")
		p.a.press("8", 80*ms)
		w.pass(time.Second)
		if got := p.b.infos(); got != "dtmf-relay:Signal=7|Duration=80 dtmf-relay:Signal=8|Duration=80" {
			t.Errorf("the phone was told %s", got)
		}
		p.a.hangUp()
	})
}

// A key for a leg that holds by an unspecified address cannot go anywhere: who pressed
// it hears so, and no record says that it went.
func TestDTMFForALegOnHold(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, false)
		hold := bytes.Replace(p.a.u.keySDP(true), []byte("c=IN IP4 "+pbxHost.String()), []byte("c=IN IP4 0.0.0.0"), 1)
		p.a.must(func() error { return p.a.Reinvite(hold) })
		p.b.must(func() error { return p.b.AnswerOffer(p.b.u.keySDP(false)) })
		w.pass(time.Second)
		p.b.sendInfo("application/dtmf", "4")
		if s := p.b.infoStatus(); s != 500 {
			t.Errorf("INFO was answered %d", s)
		}
		p.a.hangUp()
		if r := w.record(); r.DTMF == nil || *r.DTMF != (bridge.DTMFRecord{Lost: 1}) {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}

// A leg that never said that it takes INFO shows it by using it: from then on keys
// go to it that way too.
func TestDTMFLearnsInfo(t *testing.T) {
	inWorld(t, func(o *options) {
		o.infos = map[netip.Addr]bool{pbxHost: true}
		o.terms.DTMF = bridge.DTMFInfo
	}, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", func(i *leg.Invite) { i.Body = pbx.keySDP(true) })
		b := phone.invited(0)
		b.must(func() error { return b.Answer(phone.keySDP(true)) })
		a.takeInfos(200)
		b.press("1", 60*ms)
		w.pass(time.Second)
		if got := a.infos(); got != "dtmf-relay:Signal=1|Duration=60" {
			t.Errorf("the caller was told %s", got)
		}
		if keys, n := a.keys(); n != 0 {
			t.Errorf("and %d packets of %s", n, keys)
		}
		a.press("2", 60*ms) // the phone takes no INFO
		w.pass(time.Second)
		if keys, n := b.keys(); keys != "2/60ms" || n != 5 {
			t.Errorf("%d packets of %s", n, keys)
		}
		b.sendInfo("application/dtmf", "3") // but now it must
		w.pass(time.Second)
		a.press("4", 60*ms)
		w.pass(time.Second)
		if keys, n := b.keys(); n != 0 {
			t.Errorf("%d packets of %s", n, keys)
		}
		a.hangUp()
		// It lied: its endpoint refuses what came.
		if r := w.record(); r.DTMF == nil || *r.DTMF != (bridge.DTMFRecord{ToInfo: 1, Relayed: 1, Lost: 1}) {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}

// No key is ever written down: not in the record, nor in the log at its most talkative,
// nor in a capture, but for the events of one that has all of RTP.
func TestDTMFIsSecret(t *testing.T) {
	for _, whole := range []bool{false, true} {
		t.Run(fmt.Sprint(whole), func(t *testing.T) {
			var log bytes.Buffer
			withCapturesOf(t, capture.Config{Calls: capture.All, Whole: whole}, func(o *options) {
				o.infos = map[netip.Addr]bool{pbxHost: true, phoneHost: true}
				o.log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			}, func(w *world, s *capture.Store) {
				p := keyCall(w, true, false)
				p.b.takeInfos(403)
				p.a.press("#", 60*ms)
				w.pass(time.Second)
				p.a.sendInfo("application/dtmf-relay", "Signal=#\r\n")
				p.a.sendInfo("application/dtmf-relay", "Signal=##\r\n")
				p.b.sendInfo("application/dtmf", "#")
				p.b.sendInfo("text/plain", "Signal=#\r\nDuration=160\r\n")
				p.b.sendInfo("audio/telephone-event", "\x0b\x8a\x07\xd0")
				p.b.sendInfo("application/vnd.nortelnetworks.digits", "p=Digit-Collection\r\nd=#\r\n")
				w.pass(time.Second)
				p.a.hangUp()
				w.pass(10 * time.Second)
				r := w.record()
				record, err := json.Marshal(r)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(record), `"dtmf":{`) || strings.Contains(string(record), "#") {
					t.Errorf("record %s", record)
				}
				keyless(t, w.packets(s, r.ID), whole)
			})
			if s := log.String(); s == "" || strings.ContainsAny(s, "#") || strings.Contains(s, "Signal") {
				t.Errorf("log %s", s)
			}
		})
	}
}

// keyless checks that no packet of a capture says that # was pressed; whole says that
// events do.
func keyless(t *testing.T, all []captured, whole bool) {
	t.Helper()
	infos, events, told := 0, 0, 0
	for _, p := range all {
		text := string(p.payload)
		switch {
		case p.face == "media" && len(p.payload) >= 12 && p.payload[1]&0x7f == 101:
			if events++; len(p.payload) > 12 && p.payload[12] == 11 {
				told++
			}
		case strings.HasPrefix(text, "INFO "):
			infos++
			fallthrough
		case p.face != "media":
			if text += strings.Join(p.comments, "\n"); strings.ContainsAny(text, "#\x0b") || strings.Contains(text, "\x8a\x07\xd0") {
				t.Errorf("%q", text)
			}
		}
	}
	// The caller's event became an INFO, of its two INFO one was passed on; the callee's
	// first became events, and its other three nothing.
	if wanted := map[bool]int{true: events}[whole]; infos != 8 || events == 0 || told != wanted {
		t.Errorf("%d INFO, %d packets of events, %d of which tell the key", infos, events, told)
	}
}

// A phone that tells each key as event and by INFO at the same time presses it once.
func TestDTMFTwice(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, true)
		for _, early := range []time.Duration{0, 100 * ms, 300 * ms} { // the INFO comes with the key, during it, after it
			time.AfterFunc(early, func() {
				p.b.u.post(func() {
					if _, err := p.b.Info("application/dtmf-relay", []byte("Signal=5\r\nDuration=250\r\n")); err != nil {
						t.Error(err)
					}
				})
			})
			p.b.press("5", 250*ms)
			w.pass(time.Second)
			if keys, _ := p.a.keys(); keys != "5/250ms" || p.b.infoStatus() != 200 {
				t.Errorf("INFO after %v: %d, keys %s", early, p.b.infoStatus(), keys)
			}
		}
		for i := range 2 { // without an event it is a key of its own, and the second one need not wait
			p.b.sendInfo("application/dtmf", "7")
			w.pass(time.Duration(1-i)*200*ms + 500*ms)
			if keys, _ := p.a.keys(); keys != "7/250ms" {
				t.Errorf("INFO alone, %d: keys %s", i, keys)
			}
		}
		p.a.hangUp()
		r := w.record()
		if r.DTMF == nil || *r.DTMF != (bridge.DTMFRecord{ToEvents: 2}) {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}

// The same where both become INFO.
func TestDTMFTwiceToInfo(t *testing.T) {
	inWorld(t, func(o *options) { o.infos = map[netip.Addr]bool{pbxHost: true, phoneHost: true} }, func(w *world) {
		p := keyCall(w, true, false)
		p.b.takeInfos(200)
		p.a.sendInfo("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n")
		p.a.press("5", 160*ms)
		w.pass(time.Second)
		p.a.sendInfo("application/dtmf-relay", "Signal=6\r\nDuration=160\r\n")
		w.pass(time.Second)
		if got := p.b.infos(); got != "dtmf-relay:Signal=5|Duration=160 dtmf-relay:Signal=6|Duration=160" {
			t.Errorf("the phone was told %s", got)
		}
		p.a.hangUp()
		r := w.record()
		if r.DTMF == nil || *r.DTMF != (bridge.DTMFRecord{ToInfo: 1, Relayed: 1}) {
			t.Errorf("record %+v", r.DTMF)
		}
	})
}
