package softphone

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// Move carries the call over to another network: from now on its audio leaves and
// reaches a new socket of Config.Media, its signalling uses f, and a re-INVITE over f
// tells the peer. f is of the same user, for instance of a new binding. It waits for
// the answer; if the peer refuses, the call stays where it is now, unheard. Errors as
// Hold, and those of Config.Media.
func (c *Call) Move(ctx context.Context, f *sipua.Flow) error {
	err := c.do("move", func() error {
		if c.media == nil {
			return leg.ErrState
		}
		conn, local, err := c.phone.openSocket(f)
		if err != nil {
			return err
		}
		if err := c.leg.SetFlow(f); err != nil {
			conn.Close() //nolint:errcheck // nothing was sent
			return err
		}
		c.media.socket.moveTo(conn)
		c.media.local = local
		return nil
	})
	if err != nil {
		return err
	}
	return c.reinvite(ctx, c.holding())
}

// holding says that we hold the call.
func (c *Call) holding() bool {
	held := false
	if err := c.do("ask", func() error { held = c.media.holding; return nil }); err != nil {
		return false // over: what follows says so
	}
	return held
}

// openSocket opens the socket of a call's RTP, and says how SDP shows it to the peer
// of f.
func (p *Phone) openSocket(f *sipua.Flow) (net.PacketConn, netip.AddrPort, error) {
	conn, err := p.cfg.Media()
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	local, err := netip.ParseAddrPort(conn.LocalAddr().String())
	if err != nil {
		conn.Close() //nolint:errcheck // nothing was sent
		return nil, netip.AddrPort{}, err
	}
	if local.Addr().IsUnspecified() && f != nil {
		local = netip.AddrPortFrom(f.Local().Addr(), local.Port())
	}
	return conn, netip.AddrPortFrom(local.Addr().Unmap(), local.Port()), nil
}

// socket is a net.PacketConn that can be exchanged for another one while it is in
// use: whoever reads or writes goes on with the new one. Its methods may be called
// from any goroutine.
type socket struct {
	mu       sync.Mutex
	conn     net.PacketConn
	deadline time.Time // for reading
	closed   bool
}

func (s *socket) now() net.PacketConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// moveTo puts conn in the place of the socket, which is closed; conn is closed at
// once if the socket is.
func (s *socket) moveTo(conn net.PacketConn) {
	s.mu.Lock()
	old := s.conn
	if s.closed {
		old = conn
	} else {
		s.conn = conn
		conn.SetReadDeadline(s.deadline) //nolint:errcheck // an open socket takes any
	}
	s.mu.Unlock()
	old.Close() //nolint:errcheck // whoever uses it goes on elsewhere
}

// ReadFrom implements net.PacketConn.
func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		conn := s.now()
		n, from, err := conn.ReadFrom(b)
		if err != nil && s.now() != conn {
			continue
		}
		return n, from, err //nolint:wrapcheck // as the socket says it
	}
}

// WriteTo implements net.PacketConn.
func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	for {
		conn := s.now()
		n, err := conn.WriteTo(b, to)
		if err != nil && s.now() != conn {
			continue
		}
		return n, err //nolint:wrapcheck // as the socket says it
	}
}

// Close implements net.PacketConn.
func (s *socket) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return s.now().Close() //nolint:wrapcheck // as the socket says it
}

// LocalAddr implements net.PacketConn.
func (s *socket) LocalAddr() net.Addr { return s.now().LocalAddr() }

// SetReadDeadline implements net.PacketConn.
func (s *socket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	return s.conn.SetReadDeadline(t) //nolint:wrapcheck // as the socket says it
}

// SetWriteDeadline implements net.PacketConn.
func (s *socket) SetWriteDeadline(t time.Time) error {
	return s.now().SetWriteDeadline(t) //nolint:wrapcheck // as the socket says it
}

// SetDeadline implements net.PacketConn.
func (s *socket) SetDeadline(t time.Time) error {
	if err := s.SetReadDeadline(t); err != nil {
		return err
	}
	return s.SetWriteDeadline(t)
}
