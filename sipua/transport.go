package sipua

import "fmt"

// Transport is one of the transports of RFC 3261 s18 that an Endpoint speaks.
type Transport uint8

// The transports. TLS is SIP over TLS over TCP.
const (
	UDP Transport = iota + 1
	TCP
	TLS
)

// String is the transport as a Via header spells it.
func (t Transport) String() string {
	switch t {
	case UDP:
		return "UDP"
	case TCP:
		return "TCP"
	case TLS:
		return "TLS"
	}
	return fmt.Sprintf("Transport(%d)", uint8(t))
}

// Reliable says that the transport retransmits by itself (RFC 3261 s17).
func (t Transport) Reliable() bool { return t != UDP }

// Param is the value of the URI parameter transport (RFC 3261 s19.1.1).
func (t Transport) Param() string {
	switch t {
	case TCP:
		return "tcp"
	case TLS:
		return "tls"
	default:
		return "udp"
	}
}
