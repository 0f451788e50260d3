//go:build !linux

package daemon

import "syscall"

// bounded is net.Dialer.Control: here the system decides alone how long it tries.
func bounded(_, _ string, _ syscall.RawConn) error { return nil }
