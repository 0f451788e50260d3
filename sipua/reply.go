package sipua

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// replyTo is the connection that a server transaction answers on: the flow that
// the request came on. When a trunk's stream is gone, a response opens a new one
// to the address in its Via (RFC 3261 s18.2.2); an app's is not dialled.
type replyTo struct {
	tx *ServerTx

	mu      sync.Mutex
	flow    *Flow
	dialing bool
	waiting []sip.Message
}

func (r *replyTo) current() *Flow {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flow
}

// moved notes that the request came again, on another flow of the same party.
func (r *replyTo) moved(f, back *Flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flow != back && r.tx.flow.SameParty(f) {
		r.flow = back
	}
}

// wayBack is the flow for the responses to a request that came on f: f itself, but
// for a UDP peer that sends from one port, listens on another, and says so.
func (ep *Endpoint) wayBack(f *Flow, req *sip.Request) *Flow {
	if f.transport != UDP || ep.cfg.ForceRPort == nil || ep.cfg.ForceRPort(f) {
		return f
	}
	via := req.Via()
	wire, ok := f.wire.(*packetWire)
	if !ok || via == nil || via.Params.Has("rport") || !strings.EqualFold(via.Transport, UDP.String()) {
		return f
	}
	port := via.Port
	if port == 0 {
		port = 5060
	}
	if port == int(f.remote.Port()) {
		return f
	}
	return wire.l.flow(netip.AddrPortFrom(f.remote.Addr(), uint16(port)), f.local.Addr()) //nolint:gosec // the parser bounds ports
}

// Beside is the flow to another address from the same UDP socket and address of ours: a
// dialog is still known by them. nil if f is no UDP flow or the families differ.
func (f *Flow) Beside(remote netip.AddrPort) *Flow {
	wire, ok := f.wire.(*packetWire)
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	if !ok || f.local.Addr().Unmap().Is4() != remote.Addr().Is4() {
		return nil
	}
	return wire.l.flow(remote, f.local.Addr())
}

// WriteMsg implements sip.Connection.
func (r *replyTo) WriteMsg(msg sip.Message) error {
	f := r.current()
	err := f.WriteMsg(msg)
	if !errors.Is(err, ErrFlowGone) || !r.mayReopen(f) {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, msg)
	if r.dialing {
		return nil
	}
	r.dialing = true
	if !r.tx.ep.launch(r.reopen) {
		return err
	}
	return nil
}

func (r *replyTo) mayReopen(f *Flow) bool {
	return f.transport != UDP && r.tx.ep.cfg.Dial != nil && r.tx.ep.cfg.Party != nil &&
		r.tx.ep.cfg.Party(f.transport, f.remote) != ""
}

// reopen dials the sent-by of the request's Via, at the address that the request
// came from, and sends what waits.
func (r *replyTo) reopen() {
	via := r.tx.Request.Via()
	port := via.Port
	if port == 0 {
		port = 5060
		if r.tx.flow.transport == TLS {
			port = 5061
		}
	}
	to := Destination{Addr: netip.AddrPortFrom(r.tx.flow.remote.Addr(), uint16(port)), Host: via.Host} //nolint:gosec // the parser bounds ports
	ctx, cancel := context.WithTimeout(r.tx.ep.ctx, 5*time.Second)
	defer cancel()
	f, err := r.tx.ep.Connect(ctx, r.tx.flow.transport, to)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dialing = false
	waiting := r.waiting
	r.waiting = nil
	if err != nil {
		r.tx.ep.log.Info("reopen flow for a response", "to", net.JoinHostPort(via.Host, strconv.Itoa(port)), "error", err)
		return
	}
	r.flow = f
	for _, msg := range waiting {
		if err := f.WriteMsg(msg); err != nil {
			r.tx.ep.log.Info("response on a reopened flow", "flow", f, "error", fmt.Sprint(err))
		}
	}
}

// LocalAddr implements sip.Connection.
func (r *replyTo) LocalAddr() net.Addr { return r.current().LocalAddr() }

// Ref implements sip.Connection.
func (r *replyTo) Ref(int) int { return 1 }

// TryClose implements sip.Connection: a transaction closes no flow.
func (r *replyTo) TryClose() (int, error) { return 1, nil }

// Close implements sip.Connection.
func (r *replyTo) Close() error { return nil }
