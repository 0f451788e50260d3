package relay

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bell wakes a worker whose sockets have something to read. It waits in the
// runtime's poller and not in a system call of the worker's own: for each
// goroutine that sits in one, the runtime keeps a watching thread busy, which costs
// more than the packets do.
//
// A second epoll, the gate, stands between the sockets' and the runtime's: while a
// worker lets packets gather it is empty, and no packet wakes anybody.
type bell struct {
	poll  int // the sockets' epoll
	gate  int
	file  *os.File // the gate, in the runtime's poller
	raw   syscall.RawConn
	on    bool // poll is in the gate; the worker's
	over  atomic.Bool
	rung  func(gate uintptr) bool // made once: a closure per wait would be an allocation
	event [1]unix.EpollEvent
}

func newBell(poll int) (*bell, error) {
	gate, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(gate, true); err != nil { // or os.NewFile would not poll it
		return nil, errors.Join(err, unix.Close(gate))
	}
	b := &bell{poll: poll, gate: gate, file: os.NewFile(uintptr(gate), "media gate")}
	if b.raw, err = b.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, b.file.Close())
	}
	b.rung = func(gate uintptr) bool {
		n, err := ready(int(gate), b.event[:])
		return n > 0 || err != nil || b.over.Load()
	}
	return b, nil
}

// wait returns when a socket has something to read, or at the end.
func (b *bell) wait() {
	if !b.on {
		b.on = true
		b.control(unix.EPOLL_CTL_ADD)
	}
	// The error is that of a closed gate: over says so too.
	b.raw.Read(b.rung) //nolint:errcheck // see above
}

// off keeps packets from waking anybody until the next wait.
func (b *bell) off() {
	if b.on {
		b.on = false
		b.control(unix.EPOLL_CTL_DEL)
	}
}

func (b *bell) control(op int) {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(b.poll)} //nolint:gosec // descriptors are small
	unix.EpollCtl(b.gate, op, b.poll, &ev)                         //nolint:errcheck // both are ours and open
}

// end makes wait return, now and from now on.
func (b *bell) end() {
	b.over.Store(true)
	b.file.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // wakes the reader
}

func (b *bell) close() error {
	if err := b.file.Close(); err != nil {
		return fmt.Errorf("close a media gate: %w", err)
	}
	return nil
}

// ready lists the descriptors of an epoll that have something to read, without
// waiting. EINTR cannot come of it.
func ready(poll int, events []unix.EpollEvent) (int, error) {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
