package media

import (
	"net/netip"
	"testing"

	"wakebridge/bridge/media/relay"
)

// partings is an engine that counts how often a stream loses its partner.
type partings struct {
	relay.Engine
	n int
}

func (p *partings) Open(pair relay.Pair, o relay.Options) (relay.Stream, error) {
	s, err := p.Engine.Open(pair, o)
	return parting{s, p}, err
}

type parting struct {
	relay.Stream
	engine *partings
}

func (p parting) Forward(to relay.Stream) {
	if other, ok := to.(parting); ok {
		p.Stream.Forward(other.Stream)
		return
	}
	p.engine.n++
	p.Stream.Forward(nil)
}

// Early media joins the sides, and the answer does so again: what comes meanwhile must
// not be dropped.
func TestJoinAgainLeavesNoGap(t *testing.T) {
	r, err := New(Config{Bind: []netip.Addr{netip.MustParseAddr("127.0.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	engine := &partings{Engine: r.engine}
	r.engine = engine
	var sides [3]*Side
	for i := range sides {
		if sides[i], err = r.NewSide(IPv4, 1); err != nil {
			t.Fatal(err)
		}
	}
	a, b, c := sides[0], sides[1], sides[2]
	Join(a, b)
	Join(a, b)
	Join(b, a)
	if engine.n != 0 {
		t.Errorf("partners were parted %d times", engine.n)
	}
	Join(a, c)
	if engine.n != 2 || b.partner != nil || a.partner != c {
		t.Errorf("joined to another: parted %d times", engine.n)
	}
}
