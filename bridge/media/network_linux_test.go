package media_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"wakebridge/bridge/media"
)

// expedited is the octet of DSCP EF as it stands in a packet's head.
const expedited = 0xb8

// families are the loopbacks of both, and where the traffic class is set and read.
func families() map[string]struct {
	host               netip.Addr
	level, class, tell int
} {
	return map[string]struct {
		host               netip.Addr
		level, class, tell int
	}{
		"IPv4": {netip.MustParseAddr("127.0.0.1"), unix.IPPROTO_IP, unix.IP_TOS, unix.IP_RECVTOS},
		"IPv6": {netip.IPv6Loopback(), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_RECVTCLASS},
	}
}

// option reads a socket's option.
func option(t *testing.T, c *net.UDPConn, level, opt int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var value int
	var failed error
	if err := raw.Control(func(fd uintptr) { value, failed = unix.GetsockoptInt(int(fd), level, opt) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return value
}

// classOf receives a packet and says how it was marked.
func classOf(t *testing.T, c *net.UDPConn, level, tell int) int {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, tell, 1) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf, control := make([]byte, 2000), make([]byte, 200)
	_, n, _, _, err := c.ReadMsgUDPAddrPort(buf, control)
	if err != nil {
		t.Fatal(err)
	}
	all, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil || len(all) != 1 {
		t.Fatalf("%d control messages: %v", len(all), err)
	}
	if level == unix.IPPROTO_IP {
		return int(all[0].Data[0])
	}
	return int(binary.NativeEndian.Uint32(all[0].Data))
}

// What the relay sends is marked as voice, in both families, RTP and RTCP.
func TestPacketsAreMarked(t *testing.T) {
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			r, err := media.New(media.Config{Bind: []netip.Addr{f.host}})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			left, right, rightRTCP := listen(t, f.host), listen(t, f.host), listen(t, f.host)
			at := func(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }
			var sides [2]*media.Side
			for i, remote := range []media.Remote{{RTP: at(left), RTCP: at(left)}, {RTP: at(right), RTCP: at(rightRTCP)}} {
				if sides[i], err = r.NewSide(media.FamilyOf(f.host), 1); err != nil {
					t.Fatal(err)
				}
				sides[i].SetRemote(0, remote)
			}
			media.Join(sides[0], sides[1])
			for _, x := range []struct {
				to  *net.UDPConn
				pkt []byte
			}{{right, []byte{0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 'h', 'i'}}, {rightRTCP, []byte{0x80, 201, 0, 1, 0, 0, 0, 1}}} {
				if _, err := left.WriteToUDPAddrPort(x.pkt, netip.AddrPortFrom(f.host, sides[0].Ports()[0])); err != nil {
					t.Fatal(err)
				}
				if got := classOf(t, x.to, f.level, f.tell); got != expedited {
					t.Errorf("%q came marked %#x", x.pkt, got)
				}
			}
		})
	}
}

// A socket that nobody reads for a while loses nothing: half a second and more of
// audio, or of video at 4 Mbit/s. The default holds 256 packets of audio, 92 of video.
func TestSocketBuffers(t *testing.T) {
	for name, f := range families() {
		t.Run(name, func(t *testing.T) {
			for size, count := range map[int]int{172: 450, 1212: 170} {
				pc, err := media.OS{}.ListenPacket(netip.AddrPortFrom(f.host, 0))
				if err != nil {
					t.Fatal(err)
				}
				defer pc.Close()
				c := pc.(*net.UDPConn)
				if got := option(t, c, f.level, f.class); got != expedited {
					t.Errorf("traffic class %#x", got)
				}
				if got := option(t, c, unix.SOL_SOCKET, unix.SO_SNDBUF); got < 400<<10 {
					t.Errorf("send buffer of %d octets", got)
				}
				from := listen(t, f.host)
				for range count {
					if _, err := from.WriteTo(make([]byte, size), c.LocalAddr()); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				for i := range count {
					if _, _, err := c.ReadFrom(make([]byte, 2000)); err != nil {
						t.Fatalf("%d of %d packets of %d octets: %v", i, count, size, err)
					}
				}
			}
		})
	}
}
