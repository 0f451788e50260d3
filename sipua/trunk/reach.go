package trunk

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
)

// hopWithin bounds the connection to where a dialog says that its peer is, so that time
// is left for the trunk's own contact.
const hopWithin = 4 * time.Second

var errNotTheTrunks = errors.New("leads to where the trunk is not")

// Reach finds a flow for a request inside a dialog with the trunk whose own, now, is gone
// (leg.Config.Reach): to next, the first Route or else the remote target, or where that
// cannot be had to the trunk's Contact. A peer may name any host: what is no address that
// the trunk sends from or is configured with gets nothing, and no name but that of the
// Contact is looked up. What was said over TLS goes on over TLS. It may resolve names and
// dial. The error wraps ErrNoRoute.
func (t *Trunk) Reach(ctx context.Context, next sip.Uri, now *sipua.Flow) (*sipua.Flow, error) {
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
