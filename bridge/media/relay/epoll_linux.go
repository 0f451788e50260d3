package relay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawAddr is a socket address as the kernel writes and reads it: an IPv4 one
// in an IPv4 socket, else an IPv6 one.
type rawAddr struct {
	raw unix.RawSockaddrInet6 // has room for RawSockaddrInet4
	len uint32
}

// netip is the address in our form; not valid if the family is another's.
func (a *rawAddr) netip() netip.AddrPort {
	switch a.raw.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), swapped(four.Port))
	case unix.AF_INET6:
		addr := netip.AddrFrom16(a.raw.Addr)
		if a.raw.Scope_id != 0 {
			addr = addr.WithZone(zoneName(a.raw.Scope_id))
		}
		return netip.AddrPortFrom(addr, swapped(a.raw.Port))
	}
	return netip.AddrPort{}
}

// zoneName is an interface's name, as package net writes zones.
func zoneName(index uint32) string {
	if i, err := net.InterfaceByIndex(int(index)); err == nil {
		return i.Name
	}
	return fmt.Sprint(index)
}

// swapped turns a port between the network's and the machine's order.
func swapped(port uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&port))
	return uint16(b[0])<<8 | uint16(b[1])
}

// newRawAddr is at for a socket of the family; false if it cannot send there.
func newRawAddr(at netip.AddrPort, family uint16) (rawAddr, bool) {
	var a rawAddr
	addr := at.Addr()
	switch {
	case family == unix.AF_INET && addr.Unmap().Is4():
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		four.Family, four.Port, four.Addr = unix.AF_INET, swapped(at.Port()), addr.Unmap().As4()
		a.len = unix.SizeofSockaddrInet4
		return a, true
	case family == unix.AF_INET6:
		a.raw.Family, a.raw.Port, a.raw.Addr = unix.AF_INET6, swapped(at.Port()), addr.As16()
		if zone := addr.Zone(); zone != "" {
			i, err := net.InterfaceByName(zone)
			if err != nil {
				return rawAddr{}, false
			}
			a.raw.Scope_id = uint32(i.Index) //nolint:gosec // the kernel's own numbers
		}
		a.len = unix.SizeofSockaddrInet6
		return a, true
	}
	return rawAddr{}, false
}

// receive takes one datagram without waiting. The raw system call leaves the Go
// scheduler alone: it never blocks.
func receive(fd int, b []byte, from *rawAddr) (int, syscall.Errno) {
	from.len = unix.SizeofSockaddrInet6
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&from.raw)), uintptr(unsafe.Pointer(&from.len)))
	return int(n), errno
}

// transmit sends one datagram without waiting.
func transmit(fd int, b []byte, to *rawAddr) syscall.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, uintptr(unsafe.Pointer(&to.raw)), uintptr(to.len))
	return errno
}

// descriptor takes a UDP connection's socket out of the runtime's poller, which
// would wake a thread for each packet: the copy is ours alone, conn is closed.
func descriptor(conn net.PacketConn) (fd int, family uint16, err error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return -1, 0, errors.Join(errNoSocket, conn.Close())
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, 0, errors.Join(err, conn.Close())
	}
	fd = -1
	var taken error
	err = raw.Control(func(old uintptr) {
		var sa unix.Sockaddr
		if sa, taken = unix.Getsockname(int(old)); taken != nil {
			return
		}
		family = unix.AF_INET6
		if _, four := sa.(*unix.SockaddrInet4); four {
			family = unix.AF_INET
		}
		fd, taken = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, taken, conn.Close()); err != nil {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
		return -1, 0, fmt.Errorf("take over a media socket: %w", err)
	}
	return fd, family, nil
}
