// Package location knows where users' devices are: the bindings that REGISTER
// makes (RFC 3261 s10, RFC 5626), the push tokens that wake a device whose flow
// is gone (RFC 8599), and the fates of calls that a woken device may ask about.
//
// Memory is the truth at run time; a Store is its journal. Each write goes
//
//	Memory.Apply -> Memory.Flush (Store.Commit) -> answer, with Applied.Release anywhere after Apply
//
// Apply changes memory at once, so every reader sees the new state; Release
// tells the watchers of the AOR; Flush makes the change durable. The registrar
// therefore decides whether a waiting call hears of a REGISTER before or after
// the disk has: it releases when the commit is done or 50 ms have passed,
// whichever is first, and answers 200 only after Flush returned nil. What a
// failed Flush could not write stays queued for the next one.
package location

import (
	"net/netip"
	"slices"
	"time"

	"wakebridge/sipua"
)

// FlowID names a flow (RFC 5626 s2) of this node: one connection or one UDP
// peer. 0 is "no flow". Flow ids mean nothing after a restart, so a Store does
// not keep them.
type FlowID uint64

// Binding is one Contact of an AOR (RFC 3261 s10.3). It prints with its push
// token masked.
type Binding struct {
	Contact    string         // the Contact element byte for byte as registered, with all its parameters
	Flow       FlowID         // 0: asleep, the flow it was registered over is gone
	Node       string         // the node that owns the flow
	Path       []string       // Path header values, topmost first (RFC 3327)
	Instance   string         // +sip.instance as InstanceID returns it; "" if none
	RegID      int            // reg-id, 0 if none (RFC 5626 s4.2)
	CallID     string         // of the newest REGISTER
	CSeq       uint32         // of the newest REGISTER
	Expires    time.Time      // when the binding ends
	UserAgent  string         // as sent
	Received   netip.AddrPort // source address of the REGISTER
	Transport  string         // "udp", "tcp" or "tls"
	Registered time.Time      // of the newest REGISTER
}

// Device is one installation of an app that registered for an AOR, with its
// bindings and push tokens. It outlives its flows and its bindings. A Device
// that Memory returns is a copy: it may be kept and changed.
type Device struct {
	AOR      sipua.AOR
	Key      string    // stable while the device is known, unique within the AOR; safe to log (see NewKey)
	Instance string    // +sip.instance as InstanceID returns it; "" if the app sends none
	Bindings []Binding // newest first
	Push     PushInfo
	LastSeen time.Time // its last REGISTER, or the last announcement over HTTP that changed something
	// Wakeable says whether a push may be sent to it: it has a token, is not
	// logged out, and was seen within Rules.DeviceTTL. Computed when the device
	// is read; stores ignore it.
	Wakeable  bool
	LoggedOut time.Time // when it logged out; zero: it did not
	// LogoutDue is when a device that removed its last Contact counts as logged
	// out; a REGISTER before that clears it. Zero: none pending.
	LogoutDue time.Time
	// TokensDue is when the SIP tokens of a device whose REGISTER came without
	// pn-prid are forgotten; one with a token before that clears it. Zero: none pending.
	TokensDue time.Time
	Health    Health
}

// Health is what became of the pushes to a device.
type Health struct {
	Unanswered   int       // VoIP pushes that the provider accepted since the device last came: by a REGISTER, or an answer to an INVITE
	Reached      time.Time // when it last answered an INVITE that it was pushed for; a restart may forget the newest
	LastAccepted time.Time // of the newest accepted push of either kind
	Accepted     uint64    // pushes accepted, of either kind, since the device is known
	Refused      uint64    // pushes refused for this device's sake
	LastRefused  time.Time
	LastReason   string    // the provider's reason of the last refusal, e.g. "BadDeviceToken"
	LastVoIP     time.Time // of the newest accepted VoIP push
	Refreshes    int       // background pushes since the last REGISTER that asked for one
	LastRefresh  time.Time // of the newest of them, also before the last REGISTER
}

// Ref names a device.
type Ref struct {
	AOR sipua.AOR
	Key string
}

// Ref names d.
func (d Device) Ref() Ref { return Ref{AOR: d.AOR, Key: d.Key} }

// Flow is the newest binding that has a flow: the one to send requests over.
// Within a device older flows are never used at the same time (RFC 5626 s7).
// The second value is false for a device that sleeps.
func (d Device) Flow() (Binding, bool) {
	for _, b := range d.Bindings {
		if b.Flow != 0 {
			return b, true
		}
	}
	return Binding{}, false
}

func (d Device) clone() Device {
	d.Bindings = slices.Clone(d.Bindings)
	for i := range d.Bindings {
		d.Bindings[i].Path = slices.Clone(d.Bindings[i].Path)
	}
	return d
}
