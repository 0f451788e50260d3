package leg

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

const (
	// reachWithin bounds the search for a flow. Shorter than the 64*T1 for which the peer
	// waits for an ACK, and so for what is repeated then.
	reachWithin = 10 * time.Second
	// maxWaiting is how many requests may wait for one; ACKs beyond it are dropped, because
	// the 2xx comes again.
	maxWaiting = 32
)

// hop is the way of our requests where it is not the flow of the dialog. Responses, and
// who the peer is, stay with that.
type hop struct {
	flow    *sipua.Flow // nil: none was found
	to      string      // where flow leads: the dialog's next at that time
	asking  bool
	waiting []func() // what is sent when there is an answer, in this order
}

// next is where a request inside the dialog goes (RFC 3261 s12.2.1.1, s8.1.2).
func (d *dialog) next() sip.Uri {
	if len(d.routes) > 0 {
		return *d.routes[0].Clone()
	}
	return *d.target.Clone()
}

// way is the flow for a request now; known is false if a better one must be looked for
// first. A stream is as good as any while it lives; a UDP peer may listen elsewhere.
func (l *Leg) way() (f *sipua.Flow, known bool) {
	d := &l.d
	if l.cfg.Reach == nil || l.phase == calling {
		return d.flow, true
	}
	next, open := d.next(), !d.flow.Gone()
	if open && (d.flow.Transport() != sipua.UDP || leadsTo(next, d.flow)) {
		return d.flow, true
	}
	known = d.hop.to == next.String()
	if d.hop.flow != nil && !d.hop.flow.Gone() {
		return d.hop.flow, known
	}
	return d.flow, known && open && d.hop.flow == nil
}

// leadsTo says that a URI is plainly the address of a UDP flow.
func leadsTo(uri sip.Uri, f *sipua.Flow) bool {
	for _, p := range uri.UriParams {
		if strings.EqualFold(p.K, "maddr") || strings.EqualFold(p.K, "transport") && !strings.EqualFold(p.V, "udp") {
			return false
		}
	}
	addr, err := netip.ParseAddr(strings.Trim(uri.Host, "[]"))
	remote := f.Remote()
	return err == nil && strings.EqualFold(uri.Scheme, "sip") && addr.Unmap() == remote.Addr().Unmap() &&
		cmp.Or(uri.Port, 5060) == int(remote.Port())
}

// depart runs send, which sends a request over way: at once if that is known, else when it
// was looked for. The order is kept.
func (l *Leg) depart(send func()) {
	h := &l.d.hop
	if _, known := l.way(); known && !h.asking {
		send()
		return
	}
	h.waiting = append(h.waiting, send)
	if !h.asking {
		l.reach()
	}
}

// reach looks for a flow, in a goroutine of the endpoint: whoever waits for it may have
// ended by then, and its BYE still wants to leave.
func (l *Leg) reach() {
	l.d.hop.asking = true
	next, now, ask := l.d.next(), l.d.flow, l.cfg.Reach
	to := next.String()
	paid := l.cfg.Endpoint.Owe()
	if !l.cfg.Endpoint.Go(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, reachWithin)
		defer cancel()
		var f *sipua.Flow
		err := errReach
		defer func() { // after a panic, too
			l.box.put(func() {
				defer paid()
				l.found(to, f, err)
			})
		}()
		f, err = ask(ctx, next, now)
	}) {
		l.found(to, nil, sipua.ErrClosed)
		paid()
	}
}

var errReach = errors.New("the search for a flow broke off")

// found sends what waited; without a flow, over that of the dialog.
func (l *Leg) found(to string, f *sipua.Flow, err error) {
	h := &l.d.hop
	if err != nil {
		l.cfg.Log.Info("no way to the peer", "error", err)
		f = nil
	}
	waiting := h.waiting
	*h = hop{to: to}
	if f != l.d.flow {
		h.flow = f
	}
	for _, send := range waiting {
		send()
	}
}
