package trunk

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// hopWithin bounds the connection to where a dialog says that its peer is, so that time
// is left for the trunk's own contact.
const hopWithin = 4 * time.Second

var errNotTheTrunks = errors.New("leads to where the trunk is not")

// Reach finds the flow for a request inside a dialog with the trunk (leg.Config.Reach): to
// next, the first Route or else the remote target. Where that cannot be had it is now, the
// flow of the dialog, or one to the trunk's Contact if now is gone. A peer may name any
// host: what is no address that the trunk sends from or is configured with gets nothing,
// and no name but that of the Contact is looked up. What was said over TLS goes on over
// TLS. It may resolve names, and dial if now is gone. The error wraps ErrNoRoute.
func (t *Trunk) Reach(ctx context.Context, next sip.Uri, now *sipua.Flow) (*sipua.Flow, error) {
	if !now.Gone() {
		return t.elsewhere(ctx, next, now), nil
	}
	f, err := t.hop(ctx, next, now)
	if err == nil {
		return f, nil
	}
	t.set.log.Debug("a dialog goes on by the trunk's contact", "trunk", t.Name, "host", next.Host, "reason", err)
	targets, err := t.set.resolve(ctx, t.Contact)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w: %w", t.Contact.Host, ErrNoRoute, err)
	}
	return t.connect(ctx, secure(targets, now))
}

// elsewhere is the UDP flow to next while now, another one, is open; now if next is not
// to be had that way. A trunk that may be behind a NAT has told its source by now, and its
// own port may be closed from outside.
func (t *Trunk) elsewhere(ctx context.Context, next sip.Uri, now *sipua.Flow) *sipua.Flow {
	if now.Transport() != sipua.UDP {
		return now
	}
	ctx, cancel := context.WithTimeout(ctx, hopWithin)
	defer cancel()
	targets, err := t.targets(ctx, next, now)
	if err != nil {
		t.set.log.Debug("a dialog stays where it is", "trunk", t.Name, "host", next.Host, "reason", err)
		return now
	}
	targets = slices.DeleteFunc(targets, func(target Target) bool { return target.Transport != sipua.UDP })
	// Of several places the dialog is at the one where it is.
	here := slices.IndexFunc(targets, func(target Target) bool {
		return target.Addr.Addr().Unmap() == now.Remote().Addr().Unmap()
	})
	if here >= 0 {
		targets = targets[here : here+1]
		if t.ForceRPort {
			return now
		}
	}
	for _, target := range targets {
		if f := now.Beside(target.Addr); f != nil {
			return f
		}
	}
	return now
}

// hop connects to next.
func (t *Trunk) hop(ctx context.Context, next sip.Uri, now *sipua.Flow) (*sipua.Flow, error) {
	ctx, cancel := context.WithTimeout(ctx, hopWithin)
	defer cancel()
	targets, err := t.targets(ctx, next, now)
	if err != nil {
		return nil, err
	}
	return t.connect(ctx, secure(targets, now))
}

// targets are where next leads, as far as that is the trunk.
func (t *Trunk) targets(ctx context.Context, next sip.Uri, now *sipua.Flow) ([]Target, error) {
	_, err := netip.ParseAddr(strings.Trim(next.Host, "[]"))
	if named := err != nil; named && !strings.EqualFold(next.Host, t.Contact.Host) || parameter(next, "maddr") {
		return nil, fmt.Errorf("%s %w", next.Host, errNotTheTrunks)
	}
	if !parameter(next, "transport") && !strings.EqualFold(next.Scheme, "sips") {
		// Many a peer leaves it out that does not mean UDP by that.
		next.UriParams = append(next.UriParams.Clone(), sip.HeaderKV{K: "transport", V: now.Transport().Param()})
	}
	targets, err := t.set.resolve(ctx, next)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", next.Host, err)
	}
	var out []Target
	for _, target := range targets {
		if t.isAt(ctx, target.Addr.Addr(), now) {
			out = append(out, target)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s %w", next.Host, errNotTheTrunks)
	}
	return out, nil
}

// isAt says that requests of a dialog may go to addr.
func (t *Trunk) isAt(ctx context.Context, addr netip.Addr, now *sipua.Flow) bool {
	addr, there := addr.Unmap().WithZone(""), now.Remote().Addr().Unmap()
	switch {
	case t.ForceRPort && isInside(addr) && !isInside(there): // the address that it has behind its NAT
		return false
	case !addr.IsValid(), addr.IsUnspecified(), addr.IsMulticast():
		return false
	case addr.IsLoopback() != there.IsLoopback(), addr.IsLinkLocalUnicast() != there.IsLinkLocalUnicast():
		return false
	}
	if owner := t.set.ByAddr(addr); owner != nil {
		return owner == t
	}
	own, err := t.set.resolve(ctx, t.Contact)
	if err != nil {
		return false
	}
	for _, target := range own {
		if target.Addr.Addr().Unmap() == addr {
			return true
		}
	}
	return false
}

// isInside says that an address means nothing on the Internet (RFC 1918, 4193, 6598).
func isInside(addr netip.Addr) bool {
	return addr.IsPrivate() || netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(addr)
}

func parameter(uri sip.Uri, name string) bool {
	for _, kv := range uri.UriParams {
		if strings.EqualFold(kv.K, name) {
			return true
		}
	}
	return false
}

// secure are the targets for what was said over now: SDP may hold keys.
func secure(targets []Target, now *sipua.Flow) []Target {
	if now.Transport() != sipua.TLS {
		return targets
	}
	var out []Target
	for _, target := range targets {
		if target.Transport == sipua.TLS {
			out = append(out, target)
		}
	}
	return out
}
