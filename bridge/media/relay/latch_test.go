package relay

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The cast: the phone behind a NAT writes lan into its SDP, its packets and its
// signalling come from wan; the trunk says what it does.
var (
	trunk      = netip.MustParseAddrPort("192.0.2.10:12000")
	trunkOther = netip.MustParseAddrPort("192.0.2.10:12002")
	lan        = netip.MustParseAddrPort("192.168.1.7:4000")
	wan        = netip.MustParseAddrPort("198.51.100.7:61000")
	wanThird   = netip.MustParseAddrPort("198.51.100.7:61002")
	wanOther   = netip.MustParseAddrPort("198.51.100.7:61001")
	attacker   = netip.MustParseAddrPort("203.0.113.66:4000")
	attackerOn = netip.MustParseAddrPort("203.0.113.66:12000") // the trunk's port, another host
)

func TestLatch(t *testing.T) {
	type step struct {
		at   time.Duration
		do   string // "answer", "resume", "signal": new address want, "hold", "unhold"; else a packet from, "other": with another SSRC
		from netip.AddrPort
		ok   bool
		to   netip.AddrPort // target afterwards
	}
	none := netip.AddrPort{}
	tests := []struct {
		name   string
		want   netip.AddrPort
		signal netip.Addr
		loose  bool
		steps  []step
	}{
		{"trunk: SDP address from the start, strangers never", trunk, netip.Addr{}, false, []step{
			{0, "", attacker, false, trunk},
			{0, "", attackerOn, false, trunk},
			{0, "", trunk, true, trunk},
			{0, "answer", none, true, trunk},
			{time.Second, "", attacker, false, trunk},
			{time.Second, "", trunk, true, trunk},
			{time.Minute, "", attacker, false, trunk},
			{time.Minute, "", trunk, true, trunk},
		}},
		{"trunk that sends from another port is followed, until the right one speaks", trunk, netip.Addr{}, false, []step{
			{0, "answer", none, true, trunk},
			{0, "", trunkOther, true, trunkOther},
			{20 * time.Millisecond, "", trunk, true, trunk},
			{40 * time.Millisecond, "", trunkOther, false, trunk},
			{time.Minute, "", trunkOther, false, trunk},
		}},
		{"phone behind NAT: nothing to its private address, latched at its first packet", lan, wan.Addr(), false, []step{
			{0, "", attacker, false, none},
			{0, "answer", none, true, none},
			{8 * time.Second, "", attacker, false, none},
			{8 * time.Second, "", wan, true, wan},
			{9 * time.Second, "", wanOther, true, wanOther}, // quiet for a second: it moved
			{9*time.Second + 20*time.Millisecond, "", wan, false, wanOther},
			{10 * time.Second, "", wan, false, wanOther}, // strict
			{time.Hour, "", wanOther, true, wanOther},
		}},
		{"an equal source cannot shoot between a talking phone's packets", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{10 * time.Millisecond, "", wanOther, false, wan},
			{20 * time.Millisecond, "", wan, true, wan},
			{210 * time.Millisecond, "", wanOther, false, wan},
			{220 * time.Millisecond, "", wanOther, true, wanOther},
		}},
		{"open as long as nothing came, before answer and after", lan, wan.Addr(), false, []step{
			{0, "", wan, true, wan},
			{10 * time.Second, "", wanOther, true, wanOther}, // early media
			{20 * time.Second, "answer", none, true, wanOther},
			{50 * time.Second, "", wan, true, wan}, // first after answer: the window begins
			{51 * time.Second, "", wanOther, true, wanOther},
			{52 * time.Second, "", wan, false, wanOther},
		}},
		{"the last moment of the window", trunk, netip.Addr{}, false, []step{
			{0, "answer", none, true, trunk},
			{0, "", trunkOther, true, trunkOther},
			{latchWindow - 1, "", trunk, true, trunk},
			{latchWindow, "", trunkOther, false, trunk},
		}},
		{"strict exactly at the end of the window", trunk, netip.Addr{}, false, []step{
			{0, "answer", none, true, trunk},
			{0, "", trunkOther, true, trunkOther},
			{latchWindow, "", trunk, false, trunkOther},
		}},
		{"a new address forgets the old one and opens again", trunk, netip.Addr{}, false, []step{
			{0, "answer", none, true, trunk},
			{0, "", trunk, true, trunk},
			{time.Minute, "signal", wan, true, wan},
			{time.Minute, "", trunk, false, wan},
			{time.Minute, "", wanOther, true, wanOther},
			{time.Minute + time.Second, "", wan, true, wan},
			{time.Hour, "", wanOther, false, wan},
		}},
		{"the same address opens again, and the target stays until somebody speaks", trunk, netip.Addr{}, false, []step{
			{0, "answer", none, true, trunk},
			{0, "", trunkOther, true, trunkOther},
			{time.Minute, "", trunk, false, trunkOther},
			{time.Minute, "signal", trunk, true, trunkOther},
			{time.Minute, "", attacker, false, trunkOther},
			{time.Minute, "", attackerOn, false, trunkOther},
			{time.Minute, "", trunk, true, trunk},
			{time.Minute + latchWindow, "", trunkOther, false, trunk},
		}},
		{"a reopened latch: an equal source cannot shoot between the packets of who talks", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{time.Minute, "", wan, true, wan},
			{time.Minute + 10*time.Millisecond, "signal", lan, true, wan},
			{time.Minute + 10*time.Millisecond, "", wanOther, false, wan},
			{time.Minute + 20*time.Millisecond, "", wan, true, wan},
			{time.Minute + 30*time.Millisecond, "", wanOther, false, wan},
			{time.Minute + latchWindow + 20*time.Millisecond, "", wanOther, false, wan},
		}},
		{"a reopened latch: nor in a pause of its words", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{0, "signal", lan, true, wan},
			{300 * time.Millisecond, "other", wanOther, false, wan},
			{latchQuietAgain - 1, "other", wanOther, false, wan},
			{latchQuietAgain, "other", wanOther, true, wanOther},
		}},
		{"a reopened latch: the phone itself need not wait so long", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{0, "signal", lan, true, wan},
			{latchQuiet - 1, "", wanOther, false, wan},
			{latchQuiet, "", wanOther, true, wanOther},
		}},
		{"a reopened latch: who took the place of a silent phone gives it back when that talks, even if the latch is strict", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{time.Minute, "signal", lan, true, wan},
			{time.Minute, "other", wanOther, true, wanOther},
			{time.Minute + 20*time.Millisecond, "other", wanOther, true, wanOther},
			{2 * time.Minute, "other", wanOther, true, wanOther},
			{2 * time.Minute, "", wan, true, wan},
			{2*time.Minute + time.Second, "other", wanOther, false, wan},
			{3 * time.Minute, "signal", lan, true, wan},
			{3 * time.Minute, "other", wanOther, true, wanOther},
			{3 * time.Minute, "", wanThird, true, wanThird}, // the phone, whom its NAT shows elsewhere
			{3*time.Minute + time.Millisecond, "other", wanOther, false, wanThird},
		}},
		{"on hold nobody takes the place of a phone that need not talk", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{time.Minute, "hold", none, true, wan},
			{time.Minute, "other", wanOther, false, wan},
			{time.Hour, "other", wanOther, false, wan},
			{time.Hour, "", wan, true, wan},
			{2 * time.Hour, "unhold", none, true, wan},
			{2 * time.Hour, "other", wanOther, true, wanOther}, // it may have begun anew
			{2 * time.Hour, "", wan, true, wan},                // it had not
			{2 * time.Hour, "other", wanOther, false, wan},
		}},
		{"a better source stays when the former one comes back", trunk, wan.Addr(), false, []step{
			{0, "answer", none, true, trunk},
			{0, "", wan, true, wan},
			{time.Minute, "resume", none, true, wan},
			{time.Minute, "other", trunk, true, trunk},
			{time.Minute + time.Second, "", wan, false, trunk},
			{time.Hour, "", wan, false, trunk},
		}},
		{"a NAT that shows the phone at other ports", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{time.Minute, "", wanOther, false, wan},
			{time.Minute, "signal", lan, true, wan},
			{time.Minute, "", wanOther, true, wanOther},
			{time.Minute + latchWindow, "", wan, false, wanOther},
		}},
		{"after a hold the NAT may have another binding", lan, wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", wan, true, wan},
			{time.Hour, "", wanOther, false, wan},
			{time.Hour, "resume", none, true, wan},
			{time.Hour, "", attacker, false, wan},
			{time.Hour, "", wanOther, true, wanOther},
			{2 * time.Hour, "", wan, false, wanOther},
		}},
		{"a host name: nothing is sent until something comes from the signalling's address", netip.AddrPortFrom(netip.Addr{}, 4000), wan.Addr(), false, []step{
			{0, "answer", none, true, none},
			{0, "", attacker, false, none},
			{0, "", wan, true, wan},
			{time.Minute, "", wanOther, false, wan},
		}},
		{"datagrams: never strict, strangers neither", trunk, netip.Addr{}, true, []step{
			{0, "answer", none, true, trunk},
			{0, "", trunk, true, trunk},
			{time.Hour, "", attacker, false, trunk},
			{time.Hour, "", trunk, true, trunk},
		}},
	}
	start := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := latch{loose: tt.loose}.signalled(tt.want, tt.signal)
			for i, s := range tt.steps {
				ok := true
				switch s.do {
				case "answer":
					l.answered = true
				case "resume":
					l = l.reopened()
				case "signal":
					l = l.signalled(s.from, tt.signal)
				case "hold", "unhold":
					l.held = s.do == "hold"
					l = l.reopened()
				default:
					ssrc := uint32(1)
					if s.do == "other" {
						ssrc = 2
					}
					l, ok = l.take(Sender{s.from, ssrc}, start.Add(s.at))
				}
				if ok != s.ok || l.target() != s.to {
					t.Fatalf("step %d (%s %s at %s): ok %v, target %s; want %v, %s", i, s.do, s.from, s.at, ok, l.target(), s.ok, s.to)
				}
			}
		})
	}
}

// Whatever comes in whatever order, a stranger is never believed and never
// becomes the target, and once strict only signalling changes the target.
func TestLatchNeverFollowsAStranger(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		known := []netip.AddrPort{trunk, trunkOther, wan, wanOther}
		all := append([]netip.AddrPort{attacker, attackerOn, lan}, known...)
		l := latch{}.signalled(trunk, wan.Addr())
		now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				l.answered = true
			case 1:
				l = l.reopened()
			default:
				from := rapid.SampledFrom(all).Draw(t, "from")
				strict, before := l.strict(now), l.source
				next, ok := l.take(Sender{from, rapid.Uint32Range(1, 3).Draw(t, "ssrc")}, now)
				if ok && l.rankOf(from) == rankNone {
					t.Fatalf("believed a stranger, %s", from)
				}
				if !ok && next != l {
					t.Fatalf("a refused packet changed the latch: %+v, %+v", l, next)
				}
				if strict && next.source != before && !l.returns(Sender{from, next.ssrc}, l.rankOf(from)) {
					t.Fatalf("a strict latch moved from %s to %s", before, next.source)
				}
				l = next
			}
			if to := l.target(); to.Addr() != trunk.Addr() && to.Addr() != wan.Addr() {
				t.Fatalf("target %s", to)
			}
		}
	})
}

func TestPrivateAddresses(t *testing.T) {
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "172.31.0.1": true, "192.168.0.1": true, "127.0.0.1": true, "169.254.1.1": true,
		"100.64.0.1": true, "100.127.255.255": true, "100.63.255.255": false, "100.128.0.1": false,
		"fd00::1": true, "fe80::1": true, "::1": true, "2001:db8::1": false, "8.8.8.8": false,
	} {
		if got := private(netip.MustParseAddr(addr)); got != want {
			t.Errorf("private(%s) = %v", addr, got)
		}
	}
}
