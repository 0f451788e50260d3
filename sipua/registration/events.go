package registration

import (
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
)

// Event is what a Registration tells: Registered, Failed or Lost, by value.
type Event interface{ event() }

// Registered is a 2xx: the Contact is bound, for the first time or again.
type Registered struct {
	Flow *sipua.Flow
	// Expires is how long the registrar keeps the binding; Refresh is when the
	// next REGISTER is sent.
	Expires, Refresh time.Duration
	// Contacts are all bindings of the AOR, as far as the registrar shows them.
	Contacts []sip.ContactHeader
	// FeatureCaps are the push services that the registrar offers (RFC 8599 s5.4).
	FeatureCaps []header.FeatureCaps
	// CallEnded are the fates of calls that this device was woken for.
	CallEnded []header.CallEnded
	Response  *sip.Response
}

// Failed is a REGISTER that bound nothing; a binding from before may live on.
type Failed struct {
	// Status is the final response's, or what sipua.Status makes of Err.
	Status int
	Phrase string
	// Err is nil when the registrar's own status is all there is to say.
	Err error
	// Retry is when the next REGISTER is sent.
	Retry    time.Duration
	Response *sip.Response // nil if there was none
}

// Lost says that the flow of the binding is gone. Another REGISTER follows by
// itself.
type Lost struct {
	Err error
	// Retry is when.
	Retry time.Duration
}

func (Registered) event() {}
func (Failed) event()     {}
func (Lost) event()       {}
