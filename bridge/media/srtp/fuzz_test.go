package srtp_test

import (
	"bytes"
	"slices"
	"testing"

	"wakebridge/bridge/media/srtp"
)

// Whatever comes in whatever order, among it packets of the true sender that somebody
// changed, cut, held back or repeated: nothing panics, what opens is what the sender
// sealed, and it opens once.
func FuzzReceive(f *testing.F) {
	f.Add(uint8(0), false, []byte{0, 1, 9, 2, 20, 7, 4, 0, 8, 0})
	f.Add(uint8(2), true, []byte{1, 1, 3, 0, 8, 2, 40, 1, 5, 200, 80, 0, 6, 3, 1})
	f.Add(uint8(5), false, []byte{6, 6, 6, 3, 0, 2, 1, 255, 7, 7, 4, 5, 8})
	f.Fuzz(func(t *testing.T, suite uint8, identified bool, script []byte) {
		suites := srtp.Suites()
		k := key(t, suites[int(suite)%len(suites)])
		if identified {
			var err error
			if k, err = srtp.ParseKey(k.Suite(), k.Secret(), []byte{0, 7}); err != nil {
				t.Fatal(err)
			}
		}
		w := &wiretap{t: t, script: script}
		w.sender, w.receiver = ends(t, k)
		for len(w.script) > 0 {
			w.step()
		}
	})
}

// wiretap is somebody between a sender and its receiver.
type wiretap struct {
	t        *testing.T
	script   []byte
	sender   *srtp.Sender
	receiver *srtp.Receiver
	seq      uint16
	sealed   []captured
}

// captured is a packet of the sender.
type captured struct {
	rtcp          bool
	plain, sealed []byte
	opened        bool
}

func (w *wiretap) next() int {
	if len(w.script) == 0 {
		return 0
	}
	b := w.script[0]
	w.script = w.script[1:]
	return int(b)
}

func (w *wiretap) step() {
	switch op := w.next(); op % 8 {
	case 0, 1:
		w.seal(op%2 == 1)
	case 2: // garbage
		n := min(w.next(), len(w.script))
		w.deliver(op > 127, slices.Clone(w.script[:n]), nil)
		w.script = w.script[n:]
	case 3: // the newest as it is
		w.pass(len(w.sealed) - 1)
	case 4: // any
		w.pass(w.next())
	case 5: // changed
		w.change(func(pkt []byte) []byte {
			pkt[w.next()%len(pkt)] ^= byte(w.next())
			return pkt
		})
	case 6: // cut
		w.change(func(pkt []byte) []byte { return pkt[:w.next()%len(pkt)] })
	case 7: // longer
		w.change(func(pkt []byte) []byte { return append(pkt, byte(w.next())) })
	}
}

// seal lets the sender send; the packet is held.
func (w *wiretap) seal(rtcp bool) {
	c := captured{rtcp: rtcp}
	var err error
	if rtcp {
		c.plain = report(w.t, 7)
		c.sealed, err = w.sender.RTCP(slices.Clone(c.plain))
	} else {
		w.seq++
		c.plain = voice(w.t, 7, w.seq, "hello")
		c.sealed, err = w.sender.RTP(slices.Clone(c.plain))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	c.sealed = slices.Clone(c.sealed)
	w.sealed = append(w.sealed, c)
}

func (w *wiretap) pass(i int) {
	if len(w.sealed) == 0 {
		return
	}
	c := &w.sealed[(i+len(w.sealed))%len(w.sealed)]
	w.deliver(c.rtcp, slices.Clone(c.sealed), c)
}

func (w *wiretap) change(how func([]byte) []byte) {
	if len(w.sealed) == 0 {
		return
	}
	c := &w.sealed[w.next()%len(w.sealed)]
	pkt := how(slices.Clone(c.sealed))
	if bytes.Equal(pkt, c.sealed) {
		w.deliver(c.rtcp, pkt, c)
		return
	}
	w.deliver(c.rtcp, pkt, nil)
}

// deliver gives the receiver a packet: as the sender sealed it, or (nil) not.
func (w *wiretap) deliver(rtcp bool, pkt []byte, as *captured) {
	open := w.receiver.RTP
	if rtcp {
		open = w.receiver.RTCP
	}
	plain, err := open(pkt)
	switch {
	case err != nil:
		return
	case as == nil:
		w.t.Fatalf("a packet that nobody sealed opens: %x", plain)
	case as.opened:
		w.t.Fatalf("%x opens twice", plain)
	case !bytes.Equal(plain, as.plain):
		w.t.Fatalf("%x opens as %x", as.plain, plain)
	}
	as.opened = true
}
