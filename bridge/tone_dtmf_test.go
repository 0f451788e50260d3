package bridge_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wakebridge/bridge"
	"wakebridge/sipua/leg"
)

// With a tone the caller has telephone events before anybody knows what the device
// has. A key of the caller reaches the device in a form that it takes, or is counted
// as lost; a key of the device reaches the caller as without a tone.
func TestToneDTMF(t *testing.T) {
	const i160, e160 = "dtmf-relay:Signal=5|Duration=160", "5/160ms"
	for _, tone := range []bool{true, false} {
		for _, r := range []struct {
			mode         bridge.DTMF
			events, info bool   // of the device
			to           string // what the device gets of the caller's key
			record       bridge.DTMFRecord
		}{
			{bridge.DTMFAuto, true, true, e160, bridge.DTMFRecord{}},
			{bridge.DTMFAuto, true, false, e160, bridge.DTMFRecord{}},
			{bridge.DTMFAuto, false, true, i160, bridge.DTMFRecord{ToInfo: 1, ToEvents: 1}},
			{bridge.DTMFInfo, false, true, i160, bridge.DTMFRecord{ToInfo: 1, ToEvents: 1}},
			{bridge.DTMFAuto, false, false, "", bridge.DTMFRecord{Lost: 1}},
			{bridge.DTMFInfo, false, false, "", bridge.DTMFRecord{Lost: 1}},
			{bridge.DTMFEvents, false, true, "", bridge.DTMFRecord{Lost: 1, ToEvents: 1}},
		} {
			if !tone && r.to == "" {
				continue // its caller was answered without events: TestDTMFWays
			}
			t.Run(fmt.Sprint(tone, r.mode, r.events, r.info), func(t *testing.T) {
				inWorld(t, func(o *options) {
					if tone {
						toned(o)
					}
					o.terms.DTMF = r.mode
					o.infos = map[netip.Addr]bool{phoneHost: r.info}
				}, func(w *world) {
					pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
					a := pbx.call("alice", func(i *leg.Invite) { i.Body = pbx.keySDP(true) })
					phone.register(alice)
					b := phone.invited(0)
					answer := phone.offering("0")
					if r.events {
						answer = phone.offering("0 101", "a=rtpmap:101 telephone-event/8000")
					}
					b.must(func() error { return b.Answer(answer) })
					b.takeInfos(200)
					pbx.hears() // the tone
					a.press("5", 160*ms)
					w.pass(time.Second)
					keys, n := b.keys()
					if got := b.infos() + keys; got != r.to || n > 0 != r.events {
						t.Errorf("%d packets, and the device got %q, want %q", n, got, r.to)
					}
					if r.events || r.info {
						if r.events {
							b.press("5", 160*ms)
						} else {
							b.sendInfo("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n")
						}
						w.pass(time.Second)
						if keys, _ := a.keys(); keys != e160 {
							t.Errorf("the caller got %q", keys)
						}
					}
					a.hangUp()
					var got bridge.DTMFRecord
					if d := w.record().DTMF; d != nil {
						got = *d
					}
					if got != r.record {
						t.Errorf("record %+v, want %+v", got, r.record)
					}
				})
			})
		}
	}
}

// After the tone the first packet of sound has the marker. A key that is down then keeps
// the markers of its own, under the payload type that the caller gave it.
func TestToneEndsDuringAKey(t *testing.T) {
	inWorld(t, toned, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.sleeper("va")
		a := pbx.call("alice", func(i *leg.Invite) { i.Body = pbx.keySDP(true) })
		phone.register(alice)
		b := phone.invited(0)
		b.must(func() error { return b.Answer(phone.offering("0 101", "a=rtpmap:101 telephone-event/8000")) })
		pbx.hears() // the tone
		for i, p := range []struct {
			payloadType  uint8
			marker, want bool
		}{{101, false, false}, {101, true, true}, {101, false, false}, {0, false, true}, {0, false, false}} {
			pkt := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: p.payloadType, Marker: p.marker, SSRC: 77, SequenceNumber: uint16(i)}, Payload: []byte{5, 10, 1, 64}} //nolint:gosec // small
			data, err := pkt.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := phone.rtp.WriteTo(data, net.UDPAddrFromAddrPort(phone.target())); err != nil {
				t.Fatal(err)
			}
			if got := pbx.hears(); len(got) != 1 || got[0].Marker != p.want {
				t.Errorf("packet %d of type %d: %+v", i, p.payloadType, got)
			}
		}
		a.hangUp()
	})
}
