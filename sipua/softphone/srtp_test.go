package softphone_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

func speaks(s softphone.Security, suites ...string) func(*softphone.Config) {
	return func(c *softphone.Config) { c.Audio.Security, c.Audio.Suites = s, suites }
}

// Two phones agree on a suite that both know, and hear each other through hold and
// new keys.
func TestSRTPBetweenPhones(t *testing.T) {
	for _, suite := range softphone.Suites() {
		t.Run(suite, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				alice := w.phone("alice", "10.0.0.1", tone(440), speaks(softphone.SRTPOnly))
				bob := w.phone("bob", "10.0.0.2", tone(880), speaks(softphone.SRTPAnswered, suite))
				a := w.call(alice, sipua.UDP, "10.0.0.2")
				b := w.accept(bob)
				must(t, b.Answer())
				w.wait(b, softphone.Confirmed)
				<-b.Heard()
				must(t, a.Hold(w.ctx()))
				must(t, a.Resume(w.ctx()))
				must(t, b.Rekey(w.ctx()))
				time.Sleep(100 * time.Millisecond)
				before := []int{len(a.Audio().Samples), len(b.Audio().Samples)}
				time.Sleep(2 * time.Second)
				for i, c := range []*softphone.Call{a, b} {
					got := c.Audio()
					if s := audio.Tone(got.Samples[before[i]:], []float64{880, 440}[i]); s < 0.9 || got.Suite != suite {
						t.Errorf("side %d: tone %.2f under %q, %d refused", i, s, got.Suite, got.Refused)
					}
				}
			})
		})
	}
}

// Packets that are not SRTP are not heard on a call that is.
func TestForgedSoundIsRefused(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		alice := w.phone("alice", "10.0.0.1", speaks(softphone.SRTPOffered))
		bob := w.phone("bob", "10.0.0.2", tone(880))
		a := w.call(alice, sipua.UDP, "10.0.0.2")
		b := w.accept(bob)
		must(t, b.Answer())
		<-a.Heard()
		for _, line := range strings.Split(string(b.Invite().Body()), "\r\n") {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "m=audio" {
				forger, err := w.net.ListenPacket(addrPort("10.0.0.9:4000"))
				must(t, err)
				defer forger.Close()
				packet := append([]byte{0x80, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4}, make([]byte, 160)...)
				_, err = forger.WriteTo(packet, netAddr("10.0.0.1:"+f[1]))
				must(t, err)
			}
		}
		time.Sleep(time.Second)
		if got := a.Audio(); got.Refused != 1 || got.Lost != 0 {
			t.Errorf("refused %d, lost %d", got.Refused, got.Lost)
		}
	})
}

// Phones that cannot agree do not talk in the clear instead.
func TestPhonesWithoutACommonProfile(t *testing.T) {
	for name, tt := range map[string]struct{ caller, callee func(*softphone.Config) }{
		"RTP to one that speaks SRTP only": {speaks(softphone.SRTPAnswered), speaks(softphone.SRTPOnly)},
		"SRTP to one that speaks RTP only": {speaks(softphone.SRTPOffered), speaks(softphone.SRTPNever)},
		"no suite in common": {speaks(softphone.SRTPOffered, "AEAD_AES_128_GCM"),
			speaks(softphone.SRTPAnswered, "AES_CM_128_HMAC_SHA1_80")},
	} {
		inWorld(t, func(t *testing.T, w *world) {
			alice, bob := w.phone("alice", "10.0.0.1", tt.caller), w.phone("bob", "10.0.0.2", tt.callee)
			a := w.call(alice, sipua.UDP, "10.0.0.2")
			b := w.accept(bob)
			if err := b.Answer(); !errors.Is(err, softphone.ErrMedia) {
				t.Errorf("%s: %v", name, err)
			}
			must(t, b.Reject(488, ""))
			if e := w.wait(a, softphone.Ended); e.Status != 488 {
				t.Errorf("%s: %d", name, e.Status)
			}
		})
	}
}

func netAddr(s string) net.Addr { return net.UDPAddrFromAddrPort(addrPort(s)) }
