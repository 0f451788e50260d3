package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/resolve"
	"wakebridge/sipua/trunk"
)

// listen opens the SIP sockets, the last thing that New does.
func (d *Daemon) listen(ctx context.Context) error {
	for i, l := range d.cfg.Listen {
		at, err := d.open(ctx, l)
		if err != nil {
			return fmt.Errorf("listen[%d] (%s %s): %w", i, l.Transport, l.Bind, explain(err))
		}
		d.log.Info("listening", "transport", l.Transport, "address", at.String())
	}
	return nil
}

// open serves one listener and says where it is: port 0 is the system's choice.
func (d *Daemon) open(ctx context.Context, l config.Listener) (net.Addr, error) {
	var lc net.ListenConfig
	if l.Transport == "udp" {
		conn, err := lc.ListenPacket(ctx, "udp", l.Bind.String())
		if err != nil {
			return nil, err
		}
		return conn.LocalAddr(), d.endpoint.ServeUDP(conn)
	}
	transport := sipua.TCP
	var cert *tls.Config
	if l.Transport == "tls" {
		pair, err := tls.LoadX509KeyPair(l.CertFile, l.KeyFile)
		if err != nil {
			return nil, err
		}
		transport, cert = sipua.TLS, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	lc.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}
	ln, err := lc.Listen(ctx, "tcp", l.Bind.String())
	if err != nil {
		return nil, err
	}
	if cert != nil {
		ln = tls.NewListener(ln, cert)
	}
	return ln.Addr(), d.endpoint.ServeStream(ln, transport)
}

var errInUse = errors.New("another program uses this port: stop it or change bind")

func explain(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", errInUse, err)
	}
	return err
}

// dial opens a stream to a trunk.
func dial(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	if t != sipua.TLS {
		return d.DialContext(ctx, "tcp", to.Addr.String())
	}
	name := to.Host
	if name == "" {
		name = to.Addr.Addr().String()
	}
	td := tls.Dialer{NetDialer: &d, Config: &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}}
	return td.DialContext(ctx, "tcp", to.Addr.String())
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
