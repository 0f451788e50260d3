package softphone

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/registration"
)

// The words of package registration, for users of this package alone.
type (
	// Registration is a binding that is kept alive.
	Registration = registration.Registration
	// RegisterEvent is Registered, RegisterFailed or RegisterLost.
	RegisterEvent = registration.Event
	// Registered is a 2xx to REGISTER.
	Registered = registration.Registered
	// RegisterFailed is a REGISTER that bound nothing.
	RegisterFailed = registration.Failed
	// RegisterLost says that the binding's flow is gone.
	RegisterLost = registration.Lost
)

// Account says where and how to register.
type Account struct {
	// Registrar is the Request-URI. Default: the AOR's domain.
	Registrar sip.Uri
	// Transport and Server are the flow to it. UDP needs Config.Packets or
	// Config.Packet, the others Config.Dial.
	Transport sipua.Transport
	Server    sipua.Destination
	// Contact gives the Contact's parameters: pn-* and the like in the URI,
	// +sip.instance and the like behind it. It is asked before each REGISTER. nil:
	// none.
	Contact func() (uri, params sip.HeaderParams)
	Expires time.Duration // default: 1h
	Retry   registration.Retry
	// Emit gets what comes of it, on the registration's goroutine; it must only
	// post. nil: nobody.
	Emit func(RegisterEvent)
}

// At is the place at an address, for UDP and TCP, where no name is needed.
func At(addr netip.AddrPort) sipua.Destination { return sipua.Destination{Addr: addr} }

// Register begins to register and keeps at it until Unregister or Close of the
// result, or Close of the phone. Calls of the phone whose flow is gone continue on
// that of a new binding.
func (p *Phone) Register(a Account) *Registration {
	if a.Registrar.Host == "" {
		a.Registrar = sip.Uri{Scheme: "sip", Host: p.cfg.AOR.Domain}
	}
	if a.Contact == nil {
		a.Contact = func() (uri, params sip.HeaderParams) { return nil, nil }
	}
	supported := "path"
	if _, params := a.Contact(); slices.ContainsFunc(params, func(kv sip.HeaderKV) bool { return kv.K == "reg-id" }) {
		supported = "path, outbound"
	}
	r := registration.Start(registration.Config{
		Endpoint: p.ep, Registrar: a.Registrar, AOR: p.cfg.AOR, Expires: a.Expires, Credentials: p.login, Retry: a.Retry, Log: p.cfg.Log,
		Flow: func(ctx context.Context) (*sipua.Flow, error) { return p.Connect(ctx, a.Transport, a.Server) },
		Contact: func(f *sipua.Flow) sip.ContactHeader {
			uri, params := a.Contact()
			c := sip.ContactHeader{Address: f.Contact(p.cfg.AOR.User), Params: slices.Clone(params)}
			c.Address.UriParams = append(c.Address.UriParams, uri...)
			return c
		},
		Headers: []sip.Header{sip.NewHeader("Allow", p.ep.Allow()), sip.NewHeader("Supported", supported)},
		Emit: func(e RegisterEvent) {
			if ok, is := e.(Registered); is {
				p.loop.post(func() { p.moveTo(ok.Flow) })
			}
			if a.Emit != nil {
				a.Emit(e)
			}
		},
	})
	p.mu.Lock()
	p.lines = append(p.lines, r)
	closed := p.ctx.Err() != nil
	p.mu.Unlock()
	if closed { // Close may have been here before
		r.Close()
	}
	return r
}

// RegisterAndWait is Register until the first outcome, which is an error if it is a
// failure; the registration is closed then. Errors: ctx's, those of RegisterFailed.
func (p *Phone) RegisterAndWait(ctx context.Context, a Account) (*Registration, Registered, error) {
	first := make(chan RegisterEvent, 1)
	then := a.Emit
	a.Emit = func(e RegisterEvent) {
		select {
		case first <- e:
		default:
		}
		if then != nil {
			then(e)
		}
	}
	r := p.Register(a)
	var err error
	select {
	case e := <-first:
		switch e := e.(type) {
		case Registered:
			return r, e, nil
		case RegisterFailed:
			err = e.Err
			if err == nil {
				err = sipua.Reject(e.Status, e.Phrase)
			}
		case RegisterLost:
			err = e.Err
		}
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.ctx.Done():
		err = ErrClosed
	}
	r.Close()
	return nil, Registered{}, fmt.Errorf("register %s: %w", p.cfg.AOR, err)
}

// moveTo continues the calls whose flow is gone on f.
func (p *Phone) moveTo(f *sipua.Flow) {
	for l := range p.calls {
		p.moveLeg(l, f)
	}
}

func (p *Phone) moveLeg(l *leg.Leg, f *sipua.Flow) {
	select {
	case <-l.Flow().Done():
	default:
		return
	}
	if err := l.SetFlow(f); err != nil {
		p.cfg.Log.Debug("call stays without a flow", "error", err)
	}
}

// InstanceParam is the Contact parameter +sip.instance for a URN such as
// urn:uuid:... (RFC 5626 s4.1).
func InstanceParam(urn string) sip.HeaderKV {
	return sip.HeaderKV{K: "+sip.instance", V: header.FormatInstance(urn)}
}
