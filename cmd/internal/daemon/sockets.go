package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"wakebridge/bridge/media"
	"wakebridge/push/apns"
	"wakebridge/sipua"
)

// Network is where a server's sockets are when they are not the operating
// system's: a network in memory, under which a whole server runs in virtual time.
// Addresses are as the configuration has them.
type Network interface {
	ListenPacket(addr netip.AddrPort) (net.PacketConn, error)
	Listen(addr netip.AddrPort) (net.Listener, error)
	// DialContext has the form that net.Dialer's has; the address is host:port.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// listenPacket opens a socket for SIP over UDP. network is for the operating
// system.
func (d *Daemon) listenPacket(ctx context.Context, network string, addr netip.AddrPort) (net.PacketConn, error) {
	if d.opts.Network != nil {
		return d.opts.Network.ListenPacket(addr)
	}
	var lc net.ListenConfig
	return lc.ListenPacket(ctx, network, addr.String())
}

// listenStream opens a listener for SIP over streams, whose dead connections the
// operating system finds out.
func (d *Daemon) listenStream(ctx context.Context, network string, addr netip.AddrPort) (net.Listener, error) {
	if d.opts.Network != nil {
		return d.opts.Network.Listen(addr)
	}
	lc := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	return lc.Listen(ctx, network, addr.String())
}

// dialFunc is how streams to the push services are opened; nil is their default.
func (o Options) dialFunc() apns.DialFunc {
	if o.Network == nil {
		return nil
	}
	return o.Network.DialContext
}

// mediaNetwork is where the ports of the relay are.
func (o Options) mediaNetwork() media.Network {
	if o.Network == nil {
		return media.OS{}
	}
	return o.Network
}

// dialTimeout bounds how long a trunk may take to accept a connection.
const dialTimeout = 5 * time.Second

// unacknowledged is how long a trunk's connection lives when nothing that we send is
// acknowledged: half of the 64*T1 after which a request fails.
const unacknowledged = 16 * time.Second

// dial opens a stream to a trunk.
func (o Options) dial(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	open := (&net.Dialer{Control: bounded}).DialContext
	if o.Network != nil {
		open = o.Network.DialContext
	}
	conn, err := open(ctx, "tcp", to.Addr.String())
	if err != nil || t != sipua.TLS {
		return conn, err
	}
	name := to.Host
	if name == "" {
		name = to.Addr.Addr().String()
	}
	secure := tls.Client(conn, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12})
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS handshake: %w", err), conn.Close())
	}
	return secure, nil
}
