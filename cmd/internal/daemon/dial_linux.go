package daemon

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// bounded is net.Dialer.Control: a connection ends when what was sent is not
// acknowledged within unacknowledged (TCP_USER_TIMEOUT, RFC 5482). The system by
// itself would try for a quarter of an hour.
func bounded(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds()))
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("TCP_USER_TIMEOUT: %w", err)
	}
	return nil
}
