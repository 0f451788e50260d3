package e2e

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// mobile is a user's softphone, which can leave one network for another.
type mobile struct {
	*softphone.Phone
	mouth mouth

	mu   sync.Mutex
	host netip.Addr
	open []*uplink // from host
}

// mobileKind is what a mobile is at first.
type mobileKind struct {
	host  string
	user  string      // default: alice
	tls   *tls.Config // nil: TCP
	audio softphone.AudioConfig
	any   bool                                // its media reach both families; else host's only
	media func(net.PacketConn) net.PacketConn // stands between phone and network; nil: nothing does
}

func newMobile(t *testing.T, k mobileKind) *mobile {
	t.Helper()
	m := &mobile{host: netip.MustParseAddr(k.host)}
	if k.audio.Source == nil {
		k.audio.Source = func() audio.Source { return &m.mouth }
	}
	var err error
	m.Phone, err = softphone.New(softphone.Config{AOR: sipua.NewAOR(cmp.Or(k.user, "alice"), daemon.DevDomain), Password: "secret", Log: slog.New(slog.DiscardHandler), Audio: k.audio,
		Dial: func(ctx context.Context, tr sipua.Transport, to sipua.Destination) (net.Conn, error) {
			up, err := m.dial(ctx, to.Addr)
			if err != nil || tr != sipua.TLS {
				return up, err
			}
			return softphone.SecureClient(ctx, up, k.tls, to)
		},
		Media: func() (net.PacketConn, error) {
			var lc net.ListenConfig
			at := netip.AddrPortFrom(m.at(), 0).String()
			if k.any {
				at = ":0"
			}
			conn, err := lc.ListenPacket(t.Context(), "udp", at)
			if err == nil && k.media != nil {
				conn = k.media(conn)
			}
			return conn, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		m.leave(m.at())
	})
	return m
}

// at is where the phone is.
func (m *mobile) at() netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.host
}

func (m *mobile) dial(ctx context.Context, to netip.AddrPort) (*uplink, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(m.at(), 0))}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	up := &uplink{Conn: conn, left: make(chan struct{})}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = append(m.open, up)
	return up, nil
}

// leave is what a change of network does: what was open reaches nobody any more, and
// nobody is told. It returns what the connections were, to be closed once the test is
// over.
func (m *mobile) leave(to netip.Addr) (old []*uplink) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, m.open, m.host = m.open, nil, to
	for _, up := range old {
		up.leave()
	}
	return old
}

// uplink is a connection through a network that may be left.
type uplink struct {
	net.Conn
	left chan struct{}
	once sync.Once
}

var errNoNetwork = errors.New("the network is gone")

func (u *uplink) leave() {
	u.once.Do(func() {
		close(u.left)
		u.SetReadDeadline(time.Unix(1, 0)) // it wakes the reader, if there is one
	})
}

func (u *uplink) isLeft() bool {
	select {
	case <-u.left:
		return true
	default:
		return false
	}
}

// Write implements net.Conn.
func (u *uplink) Write(b []byte) (int, error) {
	if u.isLeft() {
		return 0, errNoNetwork
	}
	return u.Conn.Write(b)
}

// Read implements net.Conn.
func (u *uplink) Read(b []byte) (int, error) {
	n, err := u.Conn.Read(b)
	if u.isLeft() {
		return 0, errNoNetwork
	}
	return n, err
}

// Close implements net.Conn: it says goodbye only if there is a network to say it in.
func (u *uplink) Close() error {
	if u.isLeft() {
		return nil
	}
	return u.Conn.Close()
}

// trusting is a client's TLS that trusts the CA in a file, and knows the server as
// localhost.
func trusting(t *testing.T, ca string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("no certificate in %s", ca)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}
