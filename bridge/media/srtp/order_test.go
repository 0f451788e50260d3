package srtp_test

import (
	"errors"
	"slices"
	"testing"

	"wakebridge/bridge/media/srtp"
)

// A packet that overtakes the first one, around number 0, costs nothing but itself: the
// far end, which may never see it, and we go on with the same roll-over counter.
func TestReorderedFirst(t *testing.T) {
	for name, c := range map[string]struct {
		order, late []uint16
	}{
		"around 0":       {[]uint16{3, 65534, 4, 5, 65535, 0, 6, 7, 8, 9}, []uint16{65534, 65535}},
		"before 0":       {[]uint16{0, 65535, 1, 2}, []uint16{65535}},
		"before 2^15":    {[]uint16{32768, 32766, 32767, 32769, 32770}, nil},
		"after a wrap":   {[]uint16{65533, 65535, 65534, 1, 65532, 0, 2, 3}, nil},
		"as far as kept": {[]uint16{10, 65535, 65485, 11, 12}, []uint16{65535, 65485}},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := ends(t, key(t, srtp.AESCM128HMACSHA180))
			for _, seq := range c.order {
				sealed, err := s.RTP(voice(t, 7, seq, "hello"))
				if slices.Contains(c.late, seq) {
					if !errors.Is(err, srtp.ErrReplayed) {
						t.Errorf("%d, from before number 0: %v", seq, err)
					}
					continue // else it gets lost
				}
				if err != nil {
					t.Fatalf("%d: %v", seq, err)
				}
				if _, err := r.RTP(slices.Clone(sealed)); err != nil {
					t.Errorf("%d cannot be read: %v", seq, err)
				}
			}
		})
	}
}

// A phone that begins before the wrap and whose first packets come in another order:
// what is of after the wrap cannot be read until one of before it came, and harms
// nothing.
func TestReorderedFirstFromAPhone(t *testing.T) {
	s, r := ends(t, key(t, srtp.AEADAES128GCM))
	sealed := make(map[uint16][]byte)
	for seq := uint16(65533); seq != 8; seq++ {
		pkt, err := s.RTP(voice(t, 7, seq, "hello"))
		if err != nil {
			t.Fatal(err)
		}
		sealed[seq] = slices.Clone(pkt)
	}
	for _, c := range []struct {
		seq   uint16
		reads bool
	}{{1, false}, {0, false}, {65534, true}, {2, true}, {65533, true}, {1, true}, {65535, true}, {4, true}, {0, true}, {3, true}, {5, true}, {7, true}, {6, true}} {
		if _, err := r.RTP(slices.Clone(sealed[c.seq])); (err == nil) != c.reads {
			t.Errorf("%d: %v", c.seq, err)
		}
	}
}

// A packet that is late opens once, if it is among the newest 128 (RFC 3711 s3.3.2); what
// is older could be a repetition and is refused, of RTCP as of RTP.
func TestReplayWindow(t *testing.T) {
	const newest = 300
	for _, suite := range srtp.Suites() {
		for _, control := range []bool{false, true} {
			s, r := ends(t, key(t, suite))
			seal, open := s.RTP, r.RTP
			if control {
				seal, open = s.RTCP, r.RTCP
			}
			var sealed [newest + 2][]byte
			for i := range sealed {
				plain := voice(t, 7, uint16(i), "hello") //nolint:gosec // small
				if control {
					plain = report(t, 7)
				}
				pkt, err := seal(plain)
				if err != nil {
					t.Fatal(err)
				}
				sealed[i] = slices.Clone(pkt)
			}
			for _, c := range []struct {
				i     int
				opens bool
			}{
				{newest, true}, {newest, false}, {newest - 100, true}, {newest - 100, false}, {newest - 127, true}, {newest - 127, false},
				{newest - 128, false}, {0, false}, {newest + 1, true}, {newest, false}, {newest - 126, true}, {newest - 127, false},
			} {
				_, err := open(slices.Clone(sealed[c.i]))
				if c.opens && err != nil || !c.opens && !errors.Is(err, srtp.ErrAuth) {
					t.Errorf("%s, RTCP %t: packet %d: %v", suite, control, c.i, err)
				}
			}
		}
	}
}
