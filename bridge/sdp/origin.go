package sdp

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
)

// Origin numbers the descriptions that we send on one leg (RFC 3264 s8): the same
// session id for the leg's life, the version one higher whenever anything but the
// o= line changes. It is a plain value: keep what Sign returns.
type Origin struct {
	id, version uint64
	addr        netip.Addr
	sent        string
}

// NewOrigin begins a leg. addr is our media address there.
func NewOrigin(addr netip.Addr) Origin {
	var b [8]byte
	// crypto/rand.Read never fails (it ends the program instead).
	_, _ = rand.Read(b[:])
	// 31 bits: there are peers that keep it in a signed word.
	return Origin{id: binary.BigEndian.Uint64(b[:])>>33 + 1, addr: addr.Unmap().WithZone("")}
}

// Sign is d with our o= line, as it goes out, and the Origin to sign the next one
// with. A description equal to the last keeps its version.
func (o Origin) Sign(d *Description) (*Description, Origin) {
	out := d.clone()
	out.session = slices.DeleteFunc(out.session, func(l string) bool { return l[0] == 'o' })
	if body := string(out.Bytes()); body != o.sent {
		o.version++
		o.sent = body
	}
	out.session = insert(out.session, "v", []string{"o=" + o.line()})
	return out, o
}

// Version is that of the last description signed, 0 before the first.
func (o Origin) Version() uint64 { return o.version }

func (o Origin) line() string {
	return "- " + strconv.FormatUint(o.id, 10) + " " + strconv.FormatUint(o.version, 10) + " " + family(o.addr) + " " + o.addr.String()
}

func emptyOrigin(addr netip.Addr) string { return "- 0 0 " + family(addr) + " " + addr.String() }
