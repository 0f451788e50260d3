package e2e

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

// lossy stands between a UDP peer and the server and loses datagrams. The server
// sees the peer at the proxy's address, as it would behind a NAT.
type lossy struct {
	near, far *net.UDPConn // towards the peer, towards the server
	server    netip.AddrPort
	drop      func(up bool, what string, n int) bool
	wg        sync.WaitGroup

	mu      sync.Mutex
	peer    netip.AddrPort
	seen    map[string]int // datagrams by direction and what they are, "up INVITE"
	dropped map[string]int
}

// newLossy starts a proxy whose two sockets are at host. drop decides about the
// nth datagram, counted from 1, of its kind (method, or status and method: "200
// INVITE") and direction (up: to the server); it is never called twice at a time.
func newLossy(t *testing.T, host string, server netip.AddrPort, drop func(up bool, what string, n int) bool) *lossy {
	t.Helper()
	p := &lossy{server: server, drop: drop, seen: make(map[string]int), dropped: make(map[string]int)}
	for _, c := range []**net.UDPConn{&p.near, &p.far} {
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(host+":0")))
		if err != nil {
			t.Fatal(err)
		}
		*c = conn
	}
	p.wg.Add(2)
	go func() { // awaited by the clean-up
		defer p.wg.Done()
		p.carry(t, p.near, p.far, true)
	}()
	go func() { // awaited by the clean-up
		defer p.wg.Done()
		p.carry(t, p.far, p.near, false)
	}()
	t.Cleanup(func() {
		p.near.Close()
		p.far.Close()
		p.wg.Wait()
	})
	return p
}

// addr is where the peer sends to.
func (p *lossy) addr() netip.AddrPort { return p.near.LocalAddr().(*net.UDPAddr).AddrPort() } //nolint:forcetypeassert // UDP

func (p *lossy) carry(t *testing.T, from, to *net.UDPConn, up bool) {
	buf := make([]byte, 65535)
	for {
		n, src, err := from.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		dst, lost := p.judge(src, string(buf[:n]), up)
		if lost || !dst.IsValid() {
			continue
		}
		if _, err := to.WriteToUDPAddrPort(buf[:n], dst); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	}
}

func (p *lossy) judge(src netip.AddrPort, message string, up bool) (dst netip.AddrPort, lost bool) {
	what := kindOf(message)
	key := "down " + what
	p.mu.Lock()
	defer p.mu.Unlock()
	dst = p.peer
	if up {
		p.peer, dst, key = src, p.server, "up "+what
	}
	p.seen[key]++
	lost = p.drop(up, what, p.seen[key])
	if lost {
		p.dropped[key]++
	}
	return dst, lost
}

// kindOf is a request's method, or a response's status and method.
func kindOf(message string) string {
	first, _, _ := strings.Cut(message, " ")
	if first != "SIP/2.0" {
		return first
	}
	m := sippMessage{text: message}
	_, method, _ := strings.Cut(m.header("CSeq"), " ")
	return message[len("SIP/2.0 "):len("SIP/2.0 200")] + " " + method
}

// counts are the datagrams of a kind that came to the proxy, and those it lost.
func (p *lossy) counts(key string) (seen, dropped int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[key], p.dropped[key]
}

// lost is how many datagrams were lost in a direction.
func (p *lossy) lost(direction string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for key, dropped := range p.dropped {
		if strings.HasPrefix(key, direction) {
			n += dropped
		}
	}
	return n
}
