package iphone

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/softphone"
)

// line is the app's registration.
type line struct {
	registration *softphone.Registration // nil: none
	turn         int                     // counts the registrations, so that a late event is known as one
	connecting   bool
	registered   bool
	waiting      bool        // to be able to read the credentials
	flow         *sipua.Flow // of the newest binding
	connections  *connections
	// contact is what the next REGISTER announces; the registration's goroutine
	// reads it.
	contact atomic.Pointer[contactParams]
}

// contactParams are the parameters of the app's Contact.
type contactParams struct{ uri, header sip.HeaderParams }

// remember prepares the Contact for the tokens there are: both in one REGISTER, as
// Linphone does, so that the server can choose (RFC 8599 s4.1).
func (a *app) remember() {
	d := a.process.device
	c := &contactParams{header: sip.HeaderParams{softphone.InstanceParam(a.storage.instance)}}
	if !d.cfg.Foreign {
		c.header = append(c.header, sip.HeaderParams{{K: header.ParamWakeFate}}...)
	}
	var services, tokens []string
	add := func(service, token string) {
		if token != "" {
			services, tokens = append(services, service), append(tokens, token+":"+service)
		}
	}
	add("voip", a.storage.voipToken)
	add("remote", a.storage.alertToken)
	if len(tokens) > 0 {
		c.uri = sip.HeaderParams{
			{K: "pn-provider", V: d.cfg.App.Provider},
			{K: "pn-param", V: d.cfg.App.TeamID + "." + d.cfg.App.BundleID + "." + strings.Join(services, "&")},
			{K: "pn-prid", V: strings.Join(tokens, "&")},
		}
	}
	a.line.contact.Store(c)
}

// connect registers, or refreshes the registration (RFC 8599 s4.1.3: after each
// push).
func (a *app) connect() {
	if a.process.device.ios.sealed {
		a.line.waiting = true
		a.tell(Event{Kind: RegisterFailed, Text: errLocked.Error()})
		return
	}
	a.tell(Event{Kind: Registering})
	a.line.connecting = true
	if a.departs.connecting != nil {
		a.departs.connecting()
	}
	if a.line.registration != nil {
		a.line.registration.Refresh()
		return
	}
	a.line.turn++
	turn := a.line.turn
	a.line.registration = a.phone.Register(a.account(func(e softphone.RegisterEvent) {
		if a.line.turn == turn && a.line.registration != nil {
			a.registerEvent(e)
		}
	}))
}

// account says how to register; emit is called on the main queue.
func (a *app) account(emit func(softphone.RegisterEvent)) softphone.Account {
	acc := a.process.device.cfg.Account
	register := softphone.Account{Registrar: acc.Registrar, Transport: acc.Transport, Server: acc.Server, Expires: acc.Expires,
		Contact: func() (uri, params sip.HeaderParams) {
			c := a.line.contact.Load()
			return c.uri, c.header
		},
		Emit: func(e softphone.RegisterEvent) { a.process.post(func() { emit(e) }) },
	}
	// A caller is waiting: an app tries sooner again than a trunk.
	register.Retry.First, register.Retry.Longest = time.Second, time.Minute
	return register
}

// disconnect closes the connection without un-REGISTER: a sleeping phone wants to
// be woken.
func (a *app) disconnect() {
	if a.line.registration != nil {
		a.line.registration.Close()
		a.line.registration = nil
	}
	a.line.connecting, a.line.registered, a.line.waiting = false, false, false
	a.line.connections.closeAll()
}

func (a *app) registerEvent(e softphone.RegisterEvent) {
	switch e := e.(type) {
	case softphone.Registered:
		a.registered(e)
	case softphone.RegisterFailed:
		a.line.connecting = false
		a.line.registered = false
		text := e.Phrase
		if e.Err != nil {
			text = e.Err.Error()
		}
		a.tell(Event{Kind: RegisterFailed, Text: text})
	case softphone.RegisterLost:
		a.line.registered = false
		a.tell(Event{Kind: FlowLost})
	}
}

// registered hears what became of calls that this phone was woken for, and waits
// for the INVITEs of the others, which may have come before.
func (a *app) registered(e softphone.Registered) {
	a.line.connecting, a.line.registered, a.line.flow = false, true, e.Flow
	a.tell(Event{Kind: Registered})
	for _, ended := range e.CallEnded {
		a.fate(ended)
	}
	for _, c := range a.dictionary {
		if c.number != "" {
			a.place(c)
		} else if !c.reachable() && (c.answer == nil || c.lost) {
			a.awaitInvite(c)
		}
	}
	if a.departs.registered != nil {
		a.departs.registered()
	}
}

// comesAgain is how soon after the REGISTER an INVITE comes again whose connection the
// server knows to be gone.
const comesAgain = time.Second

// standsFor is how long a leg that was lost is taken for one that rings, without a word of
// the server.
const standsFor = time.Minute

// awaitInvite gives the INVITE of a call its time. One that was here and does not come
// again still stands for the server, which did not see its connection go.
func (a *app) awaitInvite(c *call) {
	if c.lost && a.line.registered {
		c.wait.start(a.process, comesAgain, func() { a.stands(c) })
		return
	}
	c.wait.start(a.process, a.process.device.cfg.Timing.Invite, func() { a.inviteMissing(c) })
}

// stands takes up a leg that was lost: it is answered or declined, or ended by the server,
// over the connection that there is now.
func (a *app) stands(c *call) {
	c.lost, c.stands = false, true
	if c.decided() {
		a.decide(c)
		return
	}
	c.wait.start(a.process, standsFor, func() {
		a.refuse(c.leg, c.uuid, refusalOf(Unanswered))
		a.finish(c, Unanswered)
	})
}

// inviteMissing ends a call whose INVITE did not come.
func (a *app) inviteMissing(c *call) {
	if c.pushed && c.leg == nil && a.line.registered && !a.process.device.cfg.Foreign {
		a.process.device.violate(RuleInvite, c.uuid, "the app is registered, and got neither INVITE nor fate")
	}
	reason := Unanswered
	if c.answer != nil {
		reason = Failed
	}
	a.finish(c, reason)
}

// fate ends a call as the server says that it ended.
func (a *app) fate(ended header.CallEnded) {
	reason := reasonOfFate(ended.Cause)
	a.tell(Event{Kind: FateTold, UUID: ended.UUID, Reason: reason, Text: ended.Text})
	c := a.dictionary[ended.UUID]
	switch {
	case c == nil: // its push may still come
		if _, over := a.storage.over(ended.UUID); !over {
			a.storage.remember(ended.UUID, reason)
		}
	case !c.reachable(), c.stands && !answered(c.leg): // no INVITE came, or its connection went away with the CANCEL
		a.finish(c, reason)
	case answered(c.leg): // the server ended it, and was started again before we heard of that
		a.hangUpLeg(c)
		a.finish(c, RemoteEnded)
	default: // its CANCEL is under way
		a.process.device.log.Warn("the server says that a call is over whose INVITE is here", "uuid", ended.UUID)
	}
}

func reasonOfFate(cause int) Reason {
	switch cause {
	case 200:
		return AnsweredElsewhere
	case 603:
		return DeclinedElsewhere
	case 480:
		return Unanswered
	}
	return RemoteEnded
}

// reachabilityChanged implements delegate.
func (a *app) reachabilityChanged(online bool) {
	a.line.connections.setOffline(!online)
	if online && a.line.registration != nil {
		a.connect()
	}
}

// connections are the sockets of the app's process, which the system closes when it
// is suspended.
type connections struct {
	network Network

	mu      sync.Mutex
	offline bool
	all     []io.Closer
}

func newConnections(n Network) *connections { return &connections{network: n} }

func (s *connections) dial(ctx context.Context, t sipua.Transport, to sipua.Destination) (net.Conn, error) {
	if s.isOffline() {
		return nil, errOffline
	}
	conn, err := s.network.Dial(ctx, t, to)
	if err != nil {
		return nil, err
	}
	s.keep(conn)
	return conn, nil
}

// packet opens a UDP socket.
func (s *connections) packet() (net.PacketConn, error) {
	if s.isOffline() {
		return nil, errOffline
	}
	conn, err := s.network.Packet()
	if err != nil {
		return nil, err
	}
	s.keep(conn)
	return conn, nil
}

func (s *connections) isOffline() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offline
}

func (s *connections) keep(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, c)
}

func (s *connections) setOffline(offline bool) {
	s.mu.Lock()
	s.offline = offline
	s.mu.Unlock()
	if offline {
		s.closeAll()
	}
}

func (s *connections) closeAll() {
	s.mu.Lock()
	all := s.all
	s.all = nil
	s.mu.Unlock()
	for _, c := range all {
		c.Close() //nolint:errcheck // it may be closed already, which is what is wanted
	}
}
