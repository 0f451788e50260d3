package daemon

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"wakebridge/sipua"
)

// A trunk's connection that a firewall has forgotten ends before a request over it gives
// up.
func TestTrunkConnectionEndsWithoutAcknowledgement(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := Options{}.dial(t.Context(), sipua.TCP, sipua.Destination{Addr: netip.MustParseAddrPort(ln.Addr().String())})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var ms int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		ms, failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
	}); err != nil || failed != nil || ms != 16000 {
		t.Errorf("%d ms, %v, %v", ms, err, failed)
	}
}
