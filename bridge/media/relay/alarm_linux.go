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

// alarm lets a worker sleep for a fraction of a millisecond. The runtime's own
// timers end such a sleep in its poller, which waits for whole milliseconds: it
// wakes, finds 0.9 ms missing and waits for another. A timer of the kernel in that
// poller wakes it once, and in time.
type alarm struct {
	file *os.File // the timer, in the runtime's poller
	raw  syscall.RawConn
	over atomic.Bool
	rung func(fd uintptr) bool // made once: a closure per sleep would be an allocation

	pause time.Duration // all below: the worker's
	until time.Time
	set   bool
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "media alarm")}
	if a.raw, err = a.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, a.file.Close())
	}
	a.rung = func(fd uintptr) bool {
		if !a.set {
			a.set = true // only now: what rings before the poller listens is lost
			return a.arm(int(fd)) != nil || a.over.Load()
		}
		return a.over.Load() || !time.Now().Before(a.until)
	}
	return a, nil
}

// sleep returns after d, or at the end.
func (a *alarm) sleep(d time.Duration) {
	if d <= 0 {
		return // a timer set to 0 would never ring
	}
	a.pause, a.until, a.set = d, time.Now().Add(d), false
	// The error is that of a closed alarm: over says so too.
	a.raw.Read(a.rung) //nolint:errcheck // see above
}

// arm starts the timer anew; ticks that nobody read are gone with that.
func (a *alarm) arm(fd int) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(a.pause.Nanoseconds())}
	_, _, errno := unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, uintptr(fd), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// end makes sleep return, now and from now on.
func (a *alarm) end() {
	a.over.Store(true)
	a.file.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // wakes the reader
}

func (a *alarm) close() error {
	if err := a.file.Close(); err != nil {
		return fmt.Errorf("close a media alarm: %w", err)
	}
	return nil
}
