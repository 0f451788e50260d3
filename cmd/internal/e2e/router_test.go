package e2e

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"wakebridge/config"
	"wakebridge/sipua"
)

// router is a NAT between a phone and the server: the phone reaches the server at
// routerHost, whose media ports are the server's own; the server sees whatever comes
// from one of the outside hosts. It knows nothing of SIP, and TLS passes as it is.
type router struct {
	t       *testing.T
	ctx     context.Context
	running sync.WaitGroup // awaited at the test's end
	ports   map[uint16]*inside

	mu      sync.Mutex
	host    string // outside now
	closers []io.Closer
	mapped  map[binding]*net.UDPConn // outside
}

const (
	routerHost  = "127.0.0.20"
	outsideHost = "127.0.0.21"
	otherUplink = "127.0.0.22"
)

// binding is what the router keeps for a phone's socket and a port of the server.
type binding struct {
	phone netip.AddrPort
	port  uint16
}

// inside is the router's socket in the place of one of the server's media ports.
type inside struct {
	*net.UDPConn
	port uint16
}

// behindRouter tells the server that peers but for the PBX see it at routerHost, and
// which media ports it has.
func behindRouter(first, last int) func(*config.Config) {
	return func(c *config.Config) {
		c.Network.LocalNet = []netip.Prefix{netip.MustParsePrefix(trunkHost + "/32")}
		c.Network.ExternalMediaAddress.V4 = netip.MustParseAddr(routerHost)
		c.Media.RTPStart, c.Media.RTPEnd = first, last
	}
}

// newRouter opens the router in front of the server's media ports.
func newRouter(t *testing.T, first, last int) *router {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &router{t: t, ctx: ctx, host: outsideHost, mapped: make(map[binding]*net.UDPConn), ports: make(map[uint16]*inside)}
	t.Cleanup(func() {
		cancel()
		r.mu.Lock()
		for _, c := range r.closers {
			c.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	for port := first; port <= last; port++ {
		conn := r.udp(routerHost, uint16(port)) //nolint:gosec // a port
		in := &inside{conn, uint16(port)}       //nolint:gosec // a port
		r.running.Go(func() { r.outwards(in) })
	}
	return r
}

func (r *router) keep(c io.Closer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closers = append(r.closers, c)
}

func (r *router) udp(host string, port uint16) *net.UDPConn {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), port)))
	if err != nil {
		r.t.Error(err)
		return nil
	}
	r.keep(conn)
	return conn
}

// outwards passes on what phones send to a media port.
func (r *router) outwards(in *inside) {
	buf := make([]byte, 2000)
	for {
		n, phone, err := in.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if out := r.outside(binding{phone, in.port}, in); out != nil {
			out.WriteToUDPAddrPort(buf[:n], netip.AddrPortFrom(netip.MustParseAddr(serverHost), in.port)) // networks lose packets
		}
	}
}

// outside is the socket of a binding, a new one if there is none.
func (r *router) outside(b binding, in *inside) *net.UDPConn {
	r.mu.Lock()
	conn, host := r.mapped[b], r.host
	r.mu.Unlock()
	if conn != nil || r.ctx.Err() != nil {
		return conn
	}
	if conn = r.udp(host, 0); conn == nil {
		return nil
	}
	r.mu.Lock()
	r.mapped[b] = conn
	r.mu.Unlock()
	r.running.Go(func() { // awaited as the others are
		buf := make([]byte, 2000)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			in.WriteToUDPAddrPort(buf[:n], b.phone) // networks lose packets
		}
	})
	return conn
}

// rebind forgets all bindings: from now on media leave from another host. What comes
// to the old ones is lost.
func (r *router) rebind(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b, conn := range r.mapped {
		conn.Close()
		delete(r.mapped, b)
	}
	r.host = host
}

// gate is a port of localhost, the name in the certificate, behind which a TCP port of the server lies.
func (r *router) gate(s *server, transport sipua.Transport) int {
	var lc net.ListenConfig
	ln, err := lc.Listen(r.ctx, "tcp4", serverHost+":0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.keep(ln)
	r.running.Go(func() {
		for {
			phone, err := ln.Accept()
			if err != nil {
				return
			}
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(outsideHost)}}
			up, err := d.DialContext(r.ctx, "tcp4", s.Addr(transport).String())
			if err != nil {
				phone.Close()
				continue
			}
			r.keep(phone)
			r.keep(up)
			for _, way := range [][2]net.Conn{{phone, up}, {up, phone}} {
				r.running.Go(func() {
					io.Copy(way[0], way[1]) // it ends with either
					way[0].Close()
				})
			}
		}
	})
	return ln.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // TCP
}
