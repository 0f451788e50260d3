package relay

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A socket of a call's pace is read once for each time that it is ready; one in a
// hurry until it is empty, so that what its far end says is not lost behind what
// others shoot at it; but nobody waits for that.
func TestSocketsInAHurryAreEmptied(t *testing.T) {
	e, err := NewWorkers(1, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	w, err := newWorker(e) // that nobody runs
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.free(); err != nil {
			t.Error(err)
		}
	}()
	s := &wired{fd: [2]int{udpSocket(t), udpSocket(t)}}
	if err := w.add(s); err != nil {
		t.Fatal(err)
	}
	from := listen(t)
	at := socketAddr(t, s.fd[rtpChannel])
	ready := []unix.EpollEvent{{Fd: int32(s.fd[rtpChannel])}, {Fd: int32(s.fd[rtcpChannel])}} //nolint:gosec // descriptors are small
	now := noon
	for i, step := range []struct {
		after     time.Duration
		sent, got int
	}{{0, 3, 1}, {20 * time.Millisecond, 0, 1}, {time.Millisecond, 5, 6}, {time.Millisecond, burst + 2, burst}, {20 * time.Millisecond, 0, 1}, {time.Millisecond, 0, 1}, {time.Millisecond, 0, 0}} {
		for range step.sent {
			write(t, from, []byte{byte(i)}, at)
		}
		now = now.Add(step.after)
		if got := w.read(ready, now); got != step.got {
			t.Errorf("step %d: %d packets of %d were read, want %d", i, got, step.sent, step.got)
		}
	}
	other := socketAddr(t, s.fd[rtcpChannel])
	for range 3 * burst {
		write(t, from, []byte{0}, at)
	}
	for i := range 3 {
		write(t, from, []byte{1}, other)
		now = now.Add(time.Millisecond)
		got, heard := w.read(ready, now), false
		for _, d := range w.taken[:got] {
			heard = heard || d.channel == rtcpChannel
		}
		if got != burst || !heard {
			t.Errorf("beside the bombs, read %d: %d packets, the other socket's %v", i, got, heard)
		}
	}
}

func udpSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Close(fd); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func socketAddr(t *testing.T, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(loopback, uint16(sa.(*unix.SockaddrInet4).Port)) //nolint:forcetypeassert,gosec // IPv4, a port
}
