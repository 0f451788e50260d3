package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/emiago/sipgo/sip"

	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/resolve"
	"wakebridge/sipua/trunk"
)

// socket is a listener of the configuration, bound: one of packets and stream is
// set.
type socket struct {
	transport sipua.Transport
	packets   net.PacketConn
	stream    net.Listener
}

func (s socket) addr() net.Addr {
	if s.packets != nil {
		return s.packets.LocalAddr()
	}
	return s.stream.Addr()
}

func (s socket) close() error {
	if s.packets != nil {
		return s.packets.Close()
	}
	return s.stream.Close()
}

// listen opens the SIP sockets, the last thing that New does. All are bound before
// the first one is served, so that no call begins in a server that cannot start.
func (d *Daemon) listen(ctx context.Context) error {
	var bound []socket
	giveBack := func() {
		for _, s := range bound {
			d.logErr("socket", s.close())
		}
	}
	for i, l := range d.cfg.Listen {
		s, err := d.bind(ctx, l, family(l, d.cfg.Listen))
		if err != nil {
			giveBack()
			return fmt.Errorf("listen[%d] (%s %s): %w", i, l.Transport, l.Bind, explain(err))
		}
		if !d.addresses().hasMedia(l.Bind.Addr()) {
			d.log.Warn("calls over this listener have no audio unless media.bind gets an address of its family",
				"key", fmt.Sprintf("listen[%d]", i), "bind", l.Bind.String())
		}
		bound = append(bound, s)
	}
	// A socket of both families must not take what belongs to one of IPv4 alone.
	slices.SortStableFunc(bound, func(a, b socket) int { return wide(a) - wide(b) })
	for len(bound) > 0 {
		s := bound[0]
		if err := d.serve(s); err != nil {
			giveBack()
			return fmt.Errorf("listen: %w", err)
		}
		bound = bound[1:] // now the endpoint's
		d.log.Info("listening", "transport", s.transport.Param(), "address", s.addr().String())
	}
	return nil
}

func (d *Daemon) serve(s socket) error {
	if s.packets != nil {
		return d.endpoint.ServeUDP(s.packets)
	}
	return d.endpoint.ServeStream(s.stream, s.transport)
}

// wide is 1 for a socket bound to IPv6, else 0.
func wide(s socket) int {
	if a, err := netip.ParseAddrPort(s.addr().String()); err == nil && a.Addr().Is6() && !a.Addr().Is4In6() {
		return 1
	}
	return 0
}

// family is the end of the network's name for a listener. Package net would take
// IPv6 as well where "0.0.0.0" is asked for. "[::]" takes IPv4 too, unless another
// listener has that.
func family(l config.Listener, all []config.Listener) string {
	switch {
	case l.Bind.Addr().Unmap().Is4():
		return "4"
	case !l.Bind.Addr().IsUnspecified():
		return "6"
	}
	for _, other := range all {
		if (other.Transport == "udp") == (l.Transport == "udp") && other.Bind.Port() == l.Bind.Port() && other.Bind.Addr().Is4() {
			return "6"
		}
	}
	return ""
}

func (d *Daemon) bind(ctx context.Context, l config.Listener, family string) (socket, error) {
	if l.Transport == "udp" {
		conn, err := d.listenPacket(ctx, "udp"+family, l.Bind)
		return socket{transport: sipua.UDP, packets: conn}, err
	}
	s := socket{transport: sipua.TCP}
	var cert *tls.Config
	if l.Transport == "tls" {
		pair, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
		if err != nil {
			return s, fmt.Errorf("cert_file %s, key_file %s: %w", l.CertFile, l.KeyFile, err)
		}
		s.transport, cert = sipua.TLS, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	ln, err := d.listenStream(ctx, "tcp"+family, l.Bind)
	if err != nil {
		return s, err
	}
	if cert != nil {
		ln = tls.NewListener(ln, cert)
	}
	s.stream = ln
	return s, nil
}

var errInUse = errors.New("another program uses this port: stop it or change bind")

func explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", errInUse, err)
	}
	return err
}

// resolver adapts resolve to trunk.
func resolver(r *resolve.Resolver) func(context.Context, sip.Uri) ([]trunk.Target, error) {
	transports := map[resolve.Transport]sipua.Transport{resolve.UDP: sipua.UDP, resolve.TCP: sipua.TCP, resolve.TLS: sipua.TLS}
	return func(ctx context.Context, uri sip.Uri) ([]trunk.Target, error) {
		found, err := r.Resolve(ctx, uri)
		targets := make([]trunk.Target, 0, len(found))
		for _, f := range found {
			targets = append(targets, trunk.Target{Transport: transports[f.Transport], Addr: f.Addr, Host: f.Host})
		}
		return targets, err
	}
}
