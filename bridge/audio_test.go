package bridge_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/bridge/sdes"
	"wakebridge/sipua/leg"
)

// postMedia sends a packet from conn to where the ua was told to, or so many ports above.
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

// mouth sends RTP of a ua.
type mouth struct {
	u       *ua
	seq     uint16
	pt      byte
	payload byte
}

// say sends a packet of 20 ms.
func (m *mouth) say() {
	m.u.w.t.Helper()
	m.seq++
	pkt := append([]byte{0x80, m.pt, 0, 0, 0, 0, 0, 0, 0, 0, 0, m.u.host.As4()[3]}, slices.Repeat([]byte{m.payload}, 160)...)
	binary.BigEndian.PutUint16(pkt[2:], m.seq)
	binary.BigEndian.PutUint32(pkt[4:], uint32(m.seq)*160)
	m.u.postMedia(m.u.rtp, pkt, 0)
}

// talk lets time pass while those talk.
func (w *world) chat(d time.Duration, all ...*mouth) {
	w.t.Helper()
	for range d / (20 * time.Millisecond) {
		for _, m := range all {
			m.say()
		}
		w.pass(20 * time.Millisecond)
	}
}

// Early media is no audio of the call: who is silent after it begins late.
func TestLateAfterEarlyMedia(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		b, pbx := w.ua("bob", bobHost), w.ua("100", pbxHost)
		b.register(bob)
		a := b.call("9100")
		out := pbx.invited(0)
		out.must(func() error { return out.Progress(183, pbx.sdp()) })
		trunk, app := &mouth{u: pbx, pt: 8, payload: 1}, &mouth{u: b, pt: 8, payload: 1}
		w.chat(time.Second, trunk, app)
		out.pickUp()
		w.chat(8*time.Second, app)
		w.chat(2*time.Second, trunk, app)
		a.hangUp()
		if r := w.record(); len(r.Audio) != 1 || r.Audio[0] != "the trunk's audio began 8.0 s after the answer" {
			t.Errorf("%q", r.Audio)
		}
	})
}

// The record of a call says what each leg sent and heard, how far away it is, and
// what it sounds like; the metrics count it.
func TestQualityInTheRecord(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	inWorld(t, func(o *options) { o.metrics = registry }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		a := pbx.call("alice", func(inv *leg.Invite) { inv.Body = pbx.sdp("a=rtcp-mux") })
		b := phone.invited(0)
		b.must(func() error { return b.Answer(phone.sdp("a=rtcp-mux")) })
		trunk, app := &mouth{u: pbx, pt: 8, payload: 1}, &mouth{u: phone, pt: 8, payload: 1}
		w.chat(2*time.Second, trunk, app)
		app.seq += 10 // lost on the way here
		w.chat(2*time.Second, trunk, app)
		const stamp, middle = 0x1234_5678_9abc_def0, 0x5678_9abc
		pbx.postMedia(pbx.rtp, compound(t, &rtcp.SenderReport{SSRC: 2, NTPTime: stamp}), 0)
		w.pass(80 * time.Millisecond)
		phone.postMedia(phone.rtp, compound(t, &rtcp.ReceiverReport{SSRC: 3, Reports: []rtcp.ReceptionReport{{SSRC: 2, TotalLost: 4, Jitter: 80, LastSenderReport: middle}}}), 0)
		a.hangUp()
		r := w.record()
		if len(r.Media) != 2 || len(r.Audio) != 0 {
			t.Fatalf("%d legs, %q", len(r.Media), r.Audio)
		}
		x, y := r.Media[0].Streams[0], r.Media[1].Streams[0]
		if x.Media != "audio" || x.Codec != "PCMA/8000" || x.MOSSent != 4.38 || x.MOSHeard != 0 || x.RoundTrip.Samples != 0 {
			t.Errorf("trunk: %+v", x)
		}
		// 10 of 210 are lost, 40 ms away: R = 93.2 - 2.4 - 95 * 4.76 / 29.86.
		if y.Codec != "PCMA/8000" || y.Lost != 10 || y.RoundTrip.Mean != 80*time.Millisecond || y.MOSSent != 3.85 {
			t.Errorf("phone: %+v", y)
		}
		// It misses 4 of 200, which is 2 %, with 10 ms of jitter.
		if y.Heard.Lost != 4 || y.Heard.Jitter != 10*time.Millisecond || y.MOSHeard != 4.16 {
			t.Errorf("phone heard: %+v", y)
		}
		checkJSON(t, r)
	})
	want := map[string]uint64{"app heard": 1, "app sent": 1, "trunk sent": 1}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	for _, f := range families {
		if f.GetName() != "wakebridge_media_mos" {
			continue
		}
		for _, m := range f.GetMetric() {
			l := m.GetLabel()
			got[l[1].GetValue()+" "+l[0].GetValue()] = m.GetHistogram().GetSampleCount()
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("wakebridge_media_mos: %v", got)
	}
}

// checkJSON: what is stored of the record is flat, and reads back.
func checkJSON(t *testing.T, r bridge.Record) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"media":"audio","codec":"PCMA/8000","mos_sent":3.85,"mos_heard":4.16`, `"round_trip":{"samples":1,`, `"heard":{"reports":1,"lost":4,`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	var again bridge.Record
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if second, err := json.Marshal(again); err != nil || !bytes.Equal(text, second) {
		t.Errorf("read back: %v\n%s\n%s", err, text, second)
	}
}

// What is wrong with the audio is in the record in words.
func TestAudioInTheRecord(t *testing.T) {
	tests := []struct {
		name string
		play func(w *world, trunk, phone *mouth)
		want []string
	}{
		{"all is well", func(w *world, trunk, phone *mouth) { w.chat(12*time.Second, trunk, phone) }, nil},
		{"one way", func(w *world, trunk, _ *mouth) { w.chat(12*time.Second, trunk) }, []string{"the phone sent nothing"}},
		{"nobody", func(w *world, _, _ *mouth) { w.pass(12 * time.Second) }, []string{"nobody sent anything"}},
		{"too short to say", func(w *world, _, _ *mouth) { w.pass(2 * time.Second) }, nil},
		{"it stops", func(w *world, trunk, phone *mouth) {
			w.chat(3*time.Second, trunk, phone)
			w.chat(12*time.Second, trunk)
		}, []string{"the phone's audio stopped 12 s before the end"}},
		{"it is away", func(w *world, trunk, phone *mouth) {
			w.chat(3*time.Second, trunk, phone)
			w.chat(15*time.Second, trunk)
			w.chat(3*time.Second, trunk, phone)
		}, []string{"the phone's audio was missing for 15 s from 00:00:02 UTC on"}},
		{"muted", func(w *world, trunk, phone *mouth) {
			phone.payload = 0xff
			w.chat(6*time.Second, trunk, phone)
		}, []string{"the phone sent only silence (its microphone is muted, or its audio was not activated)"}},
		{"another codec", func(w *world, trunk, phone *mouth) {
			phone.pt = 18
			w.chat(5*time.Second, trunk, phone)
		}, []string{"the phone's audio was refused: payload type 18 was not agreed (250 packets)"}},
		{"from elsewhere", func(w *world, trunk, phone *mouth) {
			stray, err := w.net.Host(bobHost).ListenPacket(netip.AddrPortFrom(bobHost, 40000))
			w.must(err)
			defer stray.Close()
			own := trunk.u.rtp
			defer func() { trunk.u.rtp = own }()
			trunk.u.rtp = stray
			w.chat(5*time.Second, trunk, phone)
		}, []string{"the trunk's audio was refused: it came from 10.0.0.5:40000, which its SDP does not name, but 10.0.0.2:40000 (250 packets)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				phone.invited(0).pickUp()
				tt.play(w, &mouth{u: pbx, payload: 1}, &mouth{u: phone, payload: 1})
				a.hangUp()
				if r := w.record(); !slices.Equal(r.Audio, tt.want) {
					t.Errorf("%q, want %q", r.Audio, tt.want)
				}
			})
		})
	}
}

// A phone that agreed to SRTP and sends with other keys, or with none, is named.
func TestWrongKeysInTheRecord(t *testing.T) {
	const line = "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0e"
	for name, key := range map[string]string{"other keys": "a=crypto:5 x inline:AAAAAAAABwgJCgsMDQ4PEBESExQVFhcYGRobHB0e", "none": ""} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(o *options) { o.terms.SRTP = sdes.Terms{Apps: sdes.Required, AnyTransport: true} }, func(w *world) {
				pbx, phone := w.ua("100", pbxHost), w.ua("x", phoneHost)
				phone.register(alice)
				a := pbx.call("alice")
				b := phone.invited(0)
				b.must(func() error {
					return b.Answer([]byte(strings.Replace(string(phone.sdp(line)), "RTP/AVP", "RTP/SAVP", 1)))
				})
				trunk := &mouth{u: pbx, payload: 1}
				for seq := range byte(200) {
					pkt := rtpPacket(seq)
					if key != "" {
						var err error
						pkt, err = sealer(t, key).EncryptRTP(nil, pkt, nil)
						w.must(err)
					}
					phone.postMedia(phone.rtp, pkt, 0)
					w.chat(20*time.Millisecond, trunk)
				}
				a.hangUp()
				want := []string{"the phone's audio was refused: SRTP keys do not match, or it is not encrypted (200 packets)"}
				if r := w.record(); !slices.Equal(r.Audio, want) {
					t.Errorf("%q", r.Audio)
				}
			})
		})
	}
}

// The metrics count by leg what the record says in words.
func TestAudioFaultsAreCounted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	inWorld(t, func(o *options) { o.metrics = registry }, func(w *world) {
		pbx, phone := w.ua("100", pbxHost), w.ua("va", phoneHost)
		phone.register(alice)
		for n, talks := range []bool{true, false} {
			a := pbx.call("alice")
			phone.invited(n).pickUp()
			if talks {
				w.chat(5*time.Second, &mouth{u: pbx, payload: 1})
			}
			w.pass(5 * time.Second)
			a.hangUp()
		}
	})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "wakebridge_media_faults_total" {
				got[m.GetLabel()[1].GetValue()+" "+m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if !maps.Equal(got, map[string]float64{"app nothing": 2, "trunk nothing": 1}) {
		t.Errorf("%v", got)
	}
}
