package memnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Host is a machine's view of the network: it may use its own addresses only, and 0.0.0.0 or :: (or no address)
// stand for its first one of that family.
type Host struct {
	n     *Network
	addrs []netip.Addr
}

// Host returns the view of a machine with these addresses.
func (n *Network) Host(addrs ...netip.Addr) *Host {
	h := &Host{n: n}
	for _, a := range addrs {
		h.addrs = append(h.addrs, a.Unmap())
	}
	return h
}

// own replaces an unspecified address; v4 says which family stands for no address.
func (h *Host) own(ap netip.AddrPort, v4 bool) (netip.AddrPort, error) {
	a := ap.Addr().Unmap()
	if a.IsValid() && !a.IsUnspecified() {
		if !slices.Contains(h.addrs, a) {
			return ap, fmt.Errorf("%s: %w", a, ErrNotLocal)
		}
		return netip.AddrPortFrom(a, ap.Port()), nil
	}
	if a.IsValid() {
		v4 = a.Is4()
	}
	for _, mine := range h.addrs {
		if mine.Is4() == v4 {
			return netip.AddrPortFrom(mine, ap.Port()), nil
		}
	}
	return ap, fmt.Errorf("%s: %w", ap, ErrNotLocal)
}

// ListenPacket is [Network.ListenPacket] on this host.
func (h *Host) ListenPacket(addr netip.AddrPort) (net.PacketConn, error) {
	own, err := h.own(addr, true)
	if err != nil {
		return nil, opError("listen", "udp", nil, net.UDPAddrFromAddrPort(addr), err)
	}
	return h.n.ListenPacket(own)
}

// Listen is [Network.Listen] on this host.
func (h *Host) Listen(addr netip.AddrPort) (net.Listener, error) {
	own, err := h.own(addr, true)
	if err != nil {
		return nil, opError("listen", "tcp", nil, net.TCPAddrFromAddrPort(addr), err)
	}
	return h.n.Listen(own)
}

// Dial is [Network.Dial] from this host; the zero local is its first address of remote's family.
func (h *Host) Dial(ctx context.Context, local, remote netip.AddrPort) (net.Conn, error) {
	own, err := h.own(local, remote.Addr().Unmap().Is4())
	if err != nil {
		return nil, opError("dial", "tcp", net.TCPAddrFromAddrPort(local), net.TCPAddrFromAddrPort(remote), err)
	}
	return h.n.Dial(ctx, own, remote)
}

// DialContext has the form that [net/http.Transport] wants. It knows TCP networks and literal addresses only.
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, opError("dial", network, nil, nil, net.UnknownNetworkError(network))
	}
	remote, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, opError("dial", network, nil, nil, err)
	}
	return h.Dial(ctx, netip.AddrPort{}, remote)
}
