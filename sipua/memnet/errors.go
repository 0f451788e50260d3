package memnet

import (
	"errors"
	"net"
	"net/netip"
)

// ErrUnspecified is returned for 0.0.0.0 and :: on a [Network], which has no own address. A [Host] accepts them.
var ErrUnspecified = errors.New("memnet: unspecified address: use a Host")

// ErrNotLocal is returned for an address that the [Host] does not have.
var ErrNotLocal = errors.New("memnet: not an address of this host")

// ErrNoPort is returned when all ephemeral ports of an address are taken.
var ErrNoPort = errors.New("memnet: no free port")

// opError dresses an error as package net does, so that callers' errors.Is and Timeout work as on real sockets.
func opError(op, network string, local, remote net.Addr, err error) error {
	return &net.OpError{Op: op, Net: network, Source: local, Addr: remote, Err: err}
}

// clean brings an address into the form used as key: IPv4 as IPv4, no zone.
func clean(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
