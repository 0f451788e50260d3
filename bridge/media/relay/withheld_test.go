package relay

import (
	"log/slog"
	"testing"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"wakebridge/bridge/media/srtp"
)

// What we keep from the partner is missed by it between two packets that pass, and not
// before the first or after the last; a partner that comes later misses nothing of it.
func TestWithheld(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b, c := newParty(t, e, 0), newParty(t, e, 0), newParty(t, e, 0)
		b.stream.Forward(a.stream)
		sequence, held := uint16(65530), uint64(0)
		hold := func(packets int, want uint64) {
			t.Helper()
			in := a.stream.Insert(Insert{Hold: true})
			for range packets {
				sequence++
				b.says(t, 7, sequence)
			}
			held += uint64(packets) //nolint:gosec // small
			b.heldOff(t, held)
			in.End()
			if got := b.stream.Stats().Withheld; got != want {
				t.Errorf("at %d: withheld %d, want %d", sequence, got, want)
			}
		}
		pass := func(to *party, want uint64) {
			t.Helper()
			sequence++
			b.says(t, 7, sequence)
			to.next(t)
			if got := b.stream.Stats().Withheld; got != want { // waits for the packet to be done with
				t.Errorf("at %d: withheld %d, want %d", sequence, got, want)
			}
		}
		hold(3, 0)
		pass(a, 0)
		hold(4, 0)
		b.stream.Tap(&Tap{PayloadTypes: []uint8{101}, Take: true, Packet: func(*rtp.Header, []byte, time.Time) {}})
		sequence++
		b.sends(t, rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: 101, SSRC: 7, SequenceNumber: sequence}, Payload: []byte("four")})
		pass(a, 5)
		hold(2, 5)
		b.stream.Forward(c.stream)
		pass(c, 0)
	})
}

// Packets that are late: only what lies between those that passed counts, each once.
func TestWithheldOutOfOrder(t *testing.T) {
	for name, c := range map[string]struct {
		passed string // by sequence number: p passed, k kept
		order  []uint16
		want   uint64
	}{
		"in order":                       {"pkkp", []uint16{0, 1, 2, 3}, 2},
		"kept, late":                     {"pkkp", []uint16{0, 1, 3, 2}, 2},
		"kept, late, from before all":    {"kppp", []uint16{1, 2, 0, 3}, 0},
		"passed, late, among kept":       {"pkpkp", []uint16{0, 1, 3, 2, 4}, 2},
		"passed, late, the last":         {"pkpk", []uint16{0, 1, 3, 2}, 0},
		"kept twice":                     {"pkp", []uint16{0, 1, 1, 2}, 1},
		"kept again beside one that was": {"pp", []uint16{0, 1, 1}, 0},
	} {
		for _, base := range []uint16{0, 65534, 32766} {
			w := withheld{}
			for _, i := range c.order {
				w.take(nil, packet{ssrc: 7, sequence: base + i}, 7, c.passed[i] == 'k')
			}
			if w.total != c.want {
				t.Errorf("%s from %d on: %d, want %d", name, base, w.total, c.want)
			}
		}
	}
}

// A sender that begins anew is given another name for a secure far end: to that one it is
// another sender, and what is kept between packets that pass is still missed.
func TestWithheldFromARenamed(t *testing.T) {
	engines(t, func(t *testing.T, e Engine) {
		a, b := newParty(t, e, srtp.AESCM128HMACSHA180), newParty(t, e, 0)
		b.stream.Forward(a.stream)
		sequence, held := uint16(5000), uint64(0)
		kept := func(packets uint64) {
			t.Helper()
			in := a.stream.Insert(Insert{Hold: true})
			for range packets {
				sequence++
				b.says(t, 7, sequence)
			}
			held += packets
			b.heldOff(t, held)
			in.End()
		}
		pass := func(want uint64) {
			t.Helper()
			sequence++
			b.says(t, 7, sequence)
			a.next(t)
			if got := b.stream.Stats().Withheld; got != want { // waits for the packet to be done with
				t.Errorf("at %d: withheld %d, want %d", sequence, got, want)
			}
		}
		b.says(t, 7, sequence)
		a.next(t)
		kept(2)
		pass(2)
		kept(4) // before the new beginning: after the last of the old name
		sequence = 3999
		b.says(t, 7, sequence) // the first of two that are too old
		waitFor(t, b.end, func(s Stats) bool { return s.Rejected[NotSealed] == 1 })
		sequence++
		b.says(t, 7, sequence)
		if name := a.next(t).SSRC; name == 7 {
			t.Fatal("it was not renamed")
		}
		pass(2)
		for n := range uint64(3) { // turn by turn
			kept(5)
			pass(2 + 5*(n+1))
		}
	})
}

// heard is a far end that counts as RFC 3550 appendix A.3 does, and knows of each packet
// that did not come whether it got lost.
type heard struct {
	began                    bool
	expected, received, lost uint64
	pending, pendingLost     uint64 // since the last that came
}

// misses tells it of a packet that does not come.
func (h *heard) misses(lost bool) {
	if h.pending++; lost {
		h.pendingLost++
	}
}

func (h *heard) hears() {
	if h.began { // nothing is missed before the first
		h.expected += h.pending
		h.lost += h.pendingLost
	}
	h.began, h.pending, h.pendingLost = true, 0, 0
	h.expected++
	h.received++
}

// Whatever is lost, before us and behind us, held, converted and passed: what the far
// end reports as lost, without what was withheld, is what got lost. Of each sender, the
// first and the last packet that pass arrive: what lies between those and the ones that
// the far end knows of is nobody's to tell.
func TestWithheldIsNoLoss(t *testing.T) {
	e := NewSockets(slog.New(slog.DiscardHandler))
	defer e.Close()
	rapid.Check(t, func(rt *rapid.T) {
		pair := [2]*stream{silentStream(t, e), silentStream(t, e)}
		defer pair[0].Close()
		defer pair[1].Close()
		pair[0].Forward(pair[1])
		pair[0].Tap(&Tap{PayloadTypes: []uint8{101}, Take: true, Packet: func(*rtp.Header, []byte, time.Time) {}})
		var reported, lost uint64
		for ssrc := range uint32(rapid.IntRange(1, 3).Draw(rt, "senders")) { //nolint:gosec // small
			far := heard{}
			sequence := rapid.Uint16().Draw(rt, "sequence")
			handle := func(payloadType uint8) {
				pair[0].handle(rtpChannel, inbound{packetOf(t, rtp.Header{SSRC: 1 + ssrc, SequenceNumber: sequence, PayloadType: payloadType}, 20), trunk, time.Now()})
			}
			run := func(fate string) {
				sequence++
				switch fate {
				case "lost before us":
					far.misses(true)
				case "held":
					in := pair[1].Insert(Insert{Hold: true})
					handle(0)
					in.End()
					far.misses(false)
				case "converted":
					handle(101)
					far.misses(false)
				case "lost behind us":
					handle(0)
					if far.misses(true); !far.began {
						far.hears() // the first arrives
					}
				case "passed":
					handle(0)
					far.hears()
				}
			}
			fates := rapid.SliceOfN(rapid.SampledFrom([]string{"lost before us", "held", "converted", "lost behind us", "passed", "passed"}), 0, 60).Draw(rt, "fates")
			for _, fate := range fates {
				run(fate)
			}
			if far.began {
				run("passed")
			}
			for range rapid.IntRange(0, 20).Draw(rt, "held in the end") {
				run("held")
			}
			reported += far.expected - far.received
			lost += far.lost
		}
		if s := pair[0].Stats(); reported-s.Withheld != lost {
			rt.Errorf("reported %d, withheld %d, lost %d; %+v", reported, s.Withheld, lost, s)
		}
	})
}

// silentStream has a far end and hears only what handle is given.
func silentStream(t *testing.T, e *Sockets) *stream {
	t.Helper()
	s, err := e.Open(Pair{RTP: silent{}, RTCP: silent{}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.SetRemote(Remote{RTP: trunk})
	return s.(*stream)
}
