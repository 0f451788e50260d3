package quality

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/relay"
	"wakebridge/bridge/sdp"
)

var (
	answeredAt = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	endedAt    = answeredAt.Add(time.Minute)
	sdpAddr    = netip.MustParseAddrPort("192.168.1.7:4000")
	elsewhere  = netip.MustParseAddrPort("203.0.113.66:9")
)

// talking is a leg of a call of a minute with nothing wrong; change may spoil it.
func talking(name string, app bool, change func(*Party, *media.StreamStats)) Party {
	s := media.StreamStats{
		RTP: relay.Count{Packets: 3000}, Sent: relay.Count{Packets: 3000}, RTCP: relay.Count{Packets: 12},
		First: answeredAt.Add(time.Second), FirstAnswered: answeredAt.Add(time.Second), Last: endedAt, Named: sdpAddr, Source: sdpAddr,
		Heard: relay.Heard{Reports: 12},
	}
	p := Party{Leg: name, App: app, Family: media.IPv4, Due: []media.Due{{Since: answeredAt, Total: time.Minute}},
		Streams: []sdp.Stream{{Media: "audio", Proto: "RTP/AVP", Formats: []string{"0", "18"}, Codecs: []sdp.Codec{{Name: "PCMU", Clock: 8000}, {Name: "G729", Clock: 8000}}}}}
	if change != nil {
		change(&p, &s)
	}
	p.Stats = []media.StreamStats{s}
	return p
}

// nothingCame is a leg whose packets did not come, or were refused.
func nothingCame(reasons map[media.Reason]uint64) func(*Party, *media.StreamStats) {
	return func(_ *Party, s *media.StreamStats) {
		s.RTP, s.RTCP, s.First, s.FirstAnswered, s.Last, s.Source, s.Heard = relay.Count{}, relay.Count{}, time.Time{}, time.Time{}, time.Time{}, netip.AddrPort{}, relay.Heard{}
		for r, n := range reasons {
			s.Rejected[r] = n
		}
		s.Stranger, s.RefusedType = elsewhere, 18
	}
}

func TestRemarks(t *testing.T) {
	type change = func(*Party, *media.StreamStats)
	held := func(of change) change {
		return func(p *Party, s *media.StreamStats) {
			of(p, s)
			p.Due = []media.Due{{Total: time.Second}}
		}
	}
	tests := []struct {
		name         string
		trunk, phone change
		want         string // joined by "; "
	}{
		{"nothing wrong", nil, nil, ""},
		{"one way", nil, nothingCame(nil), "the phone sent nothing"},
		{"the other way", nothingCame(nil), nil, "the trunk sent nothing"},
		{"silence on both", nothingCame(nil), nothingCame(nil), "nobody sent anything"},
		{"on hold all the time", held(nothingCame(nil)), held(nothingCame(nil)), ""},
		{"on hold, and the other end plays music", nil, held(nothingCame(nil)), ""},
		{"reports only", nil, func(p *Party, s *media.StreamStats) {
			nothingCame(nil)(p, s)
			s.RTCP.Packets = 12
		}, "the phone sent nothing but reports (RTCP)"},
		{"early media only", func(_ *Party, s *media.StreamStats) {
			s.First, s.FirstAnswered, s.Last = answeredAt.Add(-20*time.Second), time.Time{}, answeredAt.Add(-time.Second)
		}, nil, "the trunk sent nothing but reports (RTCP)"},
		{"other keys", nil, nothingCame(map[media.Reason]uint64{media.BadAuth: 3000}),
			"the phone's audio was refused: SRTP keys do not match, or it is not encrypted (3000 packets)"},
		{"another codec", nil, nothingCame(map[media.Reason]uint64{media.PayloadType: 3000}),
			"the phone's audio was refused: payload type 18 (G729) was not agreed (3000 packets)"},
		{"from elsewhere", nothingCame(map[media.Reason]uint64{media.WrongSource: 3000}), nil,
			"the trunk's audio was refused: it came from 203.0.113.66:9, which its SDP does not name, but 192.168.1.7:4000 (3000 packets)"},
		{"a scan is nobody's audio", nil, nothingCame(map[media.Reason]uint64{media.WrongSource: 3}), "the phone sent nothing"},
		{"ICE checks", nil, nothingCame(map[media.Reason]uint64{media.BadHeader: 30}), "the phone sent no audio, but 30 packets that are no RTP (STUN?)"},
		{"both refused", nothingCame(map[media.Reason]uint64{media.PayloadType: 1}), nothingCame(nil),
			"the trunk's audio was refused: payload type 18 (G729) was not agreed (1 packets); the phone sent nothing"},
		{"it stopped", nil, func(_ *Party, s *media.StreamStats) { s.Last = endedAt.Add(-12 * time.Second) }, "the phone's audio stopped 12 s before the end"},
		{"a pause of speech at the end", nil, func(_ *Party, s *media.StreamStats) { s.Last = endedAt.Add(-9 * time.Second) }, ""},
		{"it stopped for a hold", nil, func(p *Party, s *media.StreamStats) {
			s.Last, p.Due = endedAt.Add(-30*time.Second), []media.Due{{Total: 30 * time.Second}}
		}, ""},
		{"it did not come back after a hold", nil, func(p *Party, s *media.StreamStats) {
			s.Last, p.Due = endedAt.Add(-30*time.Second), []media.Due{{Since: endedAt.Add(-15 * time.Second), Total: 30 * time.Second}}
		}, "the phone's audio did not come back after the hold, for 15 s"},
		{"just resumed", nil, func(p *Party, s *media.StreamStats) {
			s.Last, p.Due = endedAt.Add(-30*time.Second), []media.Due{{Since: endedAt.Add(-2 * time.Second), Total: 30 * time.Second}}
		}, ""},
		{"it began late", nil, func(_ *Party, s *media.StreamStats) { s.FirstAnswered = answeredAt.Add(8100 * time.Millisecond) }, "the phone's audio began 8.1 s after the answer"},
		{"as late as CallKit may be", nil, func(_ *Party, s *media.StreamStats) { s.FirstAnswered = answeredAt.Add(4 * time.Second) }, ""},
		{"early media, and then nothing for a while", nil, func(_ *Party, s *media.StreamStats) {
			s.First, s.FirstAnswered = answeredAt.Add(-5*time.Second), answeredAt.Add(20*time.Second)
		}, "the phone's audio began 20 s after the answer"},
		{"early media that went on", nil, func(_ *Party, s *media.StreamStats) {
			s.First, s.FirstAnswered = answeredAt.Add(-20*time.Second), answeredAt.Add(20*time.Millisecond)
		}, ""},
		{"late for a hold", nil, func(p *Party, s *media.StreamStats) {
			s.FirstAnswered, p.Due[0].Total = answeredAt.Add(20*time.Second), 40*time.Second
		}, ""},
		{"away", nil, func(_ *Party, s *media.StreamStats) {
			s.Gap, s.GapAt = 14*time.Second, answeredAt.Add(30*time.Second)
		},
			"the phone's audio was missing for 14 s from 12:00:30 UTC on"},
		{"zeros", nil, func(_ *Party, s *media.StreamStats) { s.Sound = relay.Sound{Looked: 59, Silent: 59} },
			"the phone sent only silence (its microphone is muted, or its audio was not activated)"},
		{"muted for a while", nil, func(_ *Party, s *media.StreamStats) { s.Sound = relay.Sound{Looked: 59, Silent: 58} }, ""},
		{"too short to tell", nil, func(_ *Party, s *media.StreamStats) { s.Sound = relay.Sound{Looked: 4, Silent: 4} }, ""},
		{"another codec now and then", nil, func(_ *Party, s *media.StreamStats) { s.Rejected[media.PayloadType], s.RefusedType = 700, 18 },
			"the phone's audio was refused in part: payload type 18 (G729) was not agreed (700 packets of 3700)"},
		{"a few replayed packets", nil, func(_ *Party, s *media.StreamStats) { s.Rejected[media.BadAuth] = 60 }, ""},
		{"it moved and did not tell", nil, func(_ *Party, s *media.StreamStats) { s.Rejected[media.WrongSource], s.Stranger = 1000, elsewhere },
			"the phone's audio was refused in part: it came from 203.0.113.66:9, the rest from 192.168.1.7:4000 (1000 packets of 4000)"},
		{"behind a NAT and mute", func(_ *Party, s *media.StreamStats) { s.Rejected[media.NoDestination] = 3000 }, func(p *Party, s *media.StreamStats) {
			nothingCame(nil)(p, s)
			s.Sent = relay.Count{}
		}, "the phone sent nothing; the phone could be sent nothing: its SDP names 192.168.1.7:4000, which is behind a NAT, and nothing came that shows its real address"},
		{"a host name and mute", func(_ *Party, s *media.StreamStats) { s.Rejected[media.NoDestination] = 3000 }, func(p *Party, s *media.StreamStats) {
			nothingCame(nil)(p, s)
			s.Sent, s.Named = relay.Count{}, netip.AddrPort{}
		}, "the phone sent nothing; the phone could be sent nothing: its SDP has a host name, and nothing came that shows its real address"},
		{"the other family", func(p *Party, s *media.StreamStats) {
			nothingCame(map[media.Reason]uint64{media.WrongSource: 3000})(p, s)
			s.Sent, p.Family = relay.Count{}, media.IPv6
		}, func(_ *Party, s *media.StreamStats) { s.Rejected[media.NoDestination] = 3000 },
			"the trunk's audio was refused: it came from 203.0.113.66:9, which its SDP does not name, but 192.168.1.7:4000 (3000 packets); " +
				"the trunk could be sent nothing: its SDP names 192.168.1.7:4000, while its signalling goes over IPv6, and nothing came that shows its real address"},
		{"the network is down", func(_ *Party, s *media.StreamStats) { s.Rejected[media.SendFailed] = 1000 }, nil,
			"the phone could not be sent everything: the system refused 1000 packets"},
		{"nothing gets through to it", nil, func(_ *Party, s *media.StreamStats) { s.Heard = relay.Heard{Empty: 12} }, "the phone heard nothing, by its reports (RTCP)"},
		{"it sends no reports", nil, func(_ *Party, s *media.StreamStats) { s.Heard = relay.Heard{} }, ""},
		{"a bad way to it", nil, func(_ *Party, s *media.StreamStats) { s.Heard.Lost = 690 }, "the phone missed 23 % of what it was sent, by its reports (RTCP)"},
		{"held off and converted by us", func(_ *Party, s *media.StreamStats) {
			s.Rejected[media.Held], s.Rejected[media.Converted], s.Withheld = 400, 290, 690
		}, func(_ *Party, s *media.StreamStats) { s.Heard.Lost = 690 }, ""},
		{"held off by us, and a bad way to it", func(_ *Party, s *media.StreamStats) { s.Withheld = 90 },
			func(_ *Party, s *media.StreamStats) { s.Heard.Lost = 690 }, "the phone missed 20 % of what it was sent, by its reports (RTCP)"},
		{"held off by us before it heard any, and a bad way to it", func(_ *Party, s *media.StreamStats) { s.Rejected[media.Held] = 690 },
			func(_ *Party, s *media.StreamStats) { s.Heard.Lost = 690 }, "the phone missed 23 % of what it was sent, by its reports (RTCP)"},
		{"a little loss", nil, func(_ *Party, s *media.StreamStats) { s.Heard.Lost = 90 }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := []Party{talking("A", false, tt.trunk), talking("B", true, tt.phone)}
			name(all)
			var got []string
			for _, r := range remarks(all, answeredAt, endedAt) {
				if r.Text != "" {
					got = append(got, r.Text)
				}
				if r.Text != "" && strings.HasPrefix(r.Text, "the ") && strings.HasPrefix(r.Text, "the phone") != r.App {
					t.Errorf("%q is counted for the other leg", r.Text)
				}
			}
			if strings.Join(got, "; ") != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	all := []Party{talking("A", false, nothingCame(nil)), talking("B", true, nil)}
	for what, got := range map[string][]Remark{
		"never answered": remarks(all, time.Time{}, endedAt), "one leg": remarks(all[:1], answeredAt, endedAt), "none": remarks(nil, answeredAt, endedAt),
		"no audio": remarks([]Party{{}, {}}, answeredAt, endedAt),
	} {
		if len(got) != 0 {
			t.Errorf("%s: %v", what, got)
		}
	}
}

func TestLegNames(t *testing.T) {
	for _, tt := range []struct {
		a, b bool
		want []string
	}{
		{false, true, []string{"the trunk", "the phone"}}, {true, false, []string{"the phone", "the trunk"}},
		{true, true, []string{"the calling phone", "the called phone"}}, {false, false, []string{"the calling trunk", "the called trunk"}},
	} {
		all := []Party{{App: tt.a}, {App: tt.b}}
		name(all)
		if got := []string{all[0].who, all[1].who}; !slices.Equal(got, tt.want) {
			t.Errorf("%q", got)
		}
	}
}

func TestStreams(t *testing.T) {
	trunk := talking("A", false, func(_ *Party, s *media.StreamStats) {
		s.Lost, s.JitterMean = 30, 5*time.Millisecond
		s.RoundTrip = relay.RoundTrip{Samples: 3, Mean: 20 * time.Millisecond}
	})
	phone := talking("B", true, func(_ *Party, s *media.StreamStats) {
		s.Heard = relay.Heard{Reports: 12, Lost: 180, Jitter: 60 * time.Millisecond}
		s.RoundTrip = relay.RoundTrip{Samples: 3, Mean: 180 * time.Millisecond}
	})
	check := func(what string, got []Stream, want Stream) {
		t.Helper()
		if got[0].Media != want.Media || got[0].Codec != want.Codec || got[0].MOSSent != want.MOSSent || got[0].MOSHeard != want.MOSHeard {
			t.Errorf("%s: %s %s %v %v", what, got[0].Media, got[0].Codec, got[0].MOSSent, got[0].MOSHeard)
		}
	}
	// The trunk lost 1 % on the way here; the phone misses 180 of 3030, those included:
	// 5.9 %, 100 ms away and with a jitter buffer of 120 ms.
	check("trunk", streams(trunk, &phone), Stream{Media: "audio", Codec: "PCMU/8000", MOSSent: 4.28, MOSHeard: 4.32})
	check("phone", streams(phone, &trunk), Stream{Media: "audio", Codec: "PCMU/8000", MOSSent: 4.33, MOSHeard: 3.22})
	// 150 of the 180 are packets that we kept from it for a key and a tone.
	keyed := talking("A", false, func(_ *Party, s *media.StreamStats) {
		s.Rejected[media.Held], s.Rejected[media.Converted], s.Withheld = 120, 50, 150
	})
	pressed := talking("B", true, func(_ *Party, s *media.StreamStats) {
		s.Heard, s.Inserted = relay.Heard{Reports: 12, Lost: 180}, 100
	})
	few := talking("B", true, func(_ *Party, s *media.StreamStats) { s.Heard = relay.Heard{Reports: 12, Lost: 30} })
	plain := talking("A", false, nil)
	want := streams(few, &plain)[0]
	check("what we left out", streams(pressed, &keyed), want)
	if r := streams(pressed, &keyed)[0]; r.Inserted != 100 || want.MOSHeard == want.MOSSent {
		t.Errorf("record %+v, of as much loss %+v", r, want)
	}
	if r := streams(keyed, &pressed)[0]; r.Rejected[media.Held] != 120 || r.Rejected[media.Converted] != 50 {
		t.Errorf("record %+v", r)
	}
	check("alone", streams(trunk, nil), Stream{Media: "audio", Codec: "PCMU/8000", MOSSent: 4.28})
	odd := talking("B", true, func(p *Party, s *media.StreamStats) { s.PayloadType, p.Streams[0].Codecs[1].Name = 18, "iSAC" })
	check("unknown to the E-model", streams(odd, &trunk), Stream{Media: "audio", Codec: "iSAC/8000", MOSHeard: 4.37})
	short := talking("B", true, func(_ *Party, s *media.StreamStats) { s.RTP.Packets, s.Sent.Packets = 49, 49 })
	check("too short", streams(short, &trunk), Stream{Media: "audio", Codec: "PCMU/8000"})
	mute := talking("B", true, func(_ *Party, s *media.StreamStats) { s.RTP.Packets, s.Heard = 0, relay.Heard{} })
	check("mute and without reports", streams(mute, &trunk), Stream{Media: "audio"})
	foreign := talking("B", true, func(p *Party, s *media.StreamStats) {
		s.PayloadType, p.Streams = 96, []sdp.Stream{{Media: "audio", Proto: "RTP/AVP", Formats: []string{"0"}, Codecs: []sdp.Codec{{Name: "PCMU"}}}}
	})
	named := talking("A", false, func(p *Party, _ *media.StreamStats) {
		p.Streams = []sdp.Stream{{Media: "audio", Proto: "RTP/AVP", Formats: []string{"96"}, Codecs: []sdp.Codec{{Name: "opus", Clock: 48000, Channels: 2}}}}
	})
	check("a number that only the other leg has", streams(foreign, &named), Stream{Media: "audio", Codec: "opus/48000/2", MOSSent: 4.38, MOSHeard: 4.38})
}
