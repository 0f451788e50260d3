package iphone_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/softphone"
)

const (
	bundle     = "com.example.phone"
	voipToken  = "aa00aa00aa00aa00"
	alertToken = "bb00bb00bb00bb00"
)

var (
	serverAddr = netip.MustParseAddrPort("10.0.0.1:5060")
	phoneAddr  = netip.MustParseAddr("10.0.0.9")
)

// apns is a push service of one device.
type apns struct {
	pushes chan iphone.Push
	mu     sync.Mutex
	asked  []string // for tokens
	online bool
	// installs counts the installations: tokens are that of one.
	installs int
}

func (a *apns) RegisterVoIP(string) string  { return a.token("voip", voipToken) }
func (a *apns) RegisterAlert(string) string { return a.token("alert", alertToken) }

func (a *apns) token(kind, token string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, kind)
	return a.installed(token)
}

// installed is a token of this installation.
func (a *apns) installed(token string) string {
	if a.installs > 0 {
		token += fmt.Sprintf("%02d", a.installs)
	}
	return token
}

func (a *apns) Reinstall(string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.installs++
}

func (a *apns) Online(online bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.online = online
}

func (a *apns) Next(ctx context.Context) (iphone.Push, error) {
	select {
	case p := <-a.pushes:
		return p, nil
	case <-ctx.Done():
		return iphone.Push{}, ctx.Err()
	}
}

// world is a phone, its push service, and a server that registers it and calls it
// when the test says so.
type world struct {
	t      *testing.T
	net    *memnet.Network
	apns   *apns
	server *softphone.Phone
	phone  *iphone.Device

	registers chan *sip.Request
	mu        sync.Mutex
	flow      *sipua.Flow // the phone's newest
	contact   sip.ContactHeader
	reply     func(tx *sipua.ServerTx) *sip.Response // nil: 200
	ended     []string                               // X-Call-Ended of the next 200
	gone      atomic.Int32                           // flows of the phone that closed
	roam      func()                                 // what the phone does to get another address
}

// inWorld runs a test in virtual time, with a phone that is installed and off.
func inWorld(t *testing.T, change func(*iphone.Config), f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: memnet.New(memnet.Options{Seed: 5}), apns: &apns{pushes: make(chan iphone.Push, 16), online: true},
			registers: make(chan *sip.Request, 100)}
		t.Cleanup(func() { w.net.Close() })
		w.net.ImpairBoth(serverAddr.Addr(), phoneAddr, memnet.Impairment{Delay: 5 * time.Millisecond}) // or who is first is a matter of luck
		w.serve()
		host := w.net.Host(phoneAddr)
		cfg := iphone.Config{
			App:     iphone.App{TeamID: "ABCDE12345", BundleID: bundle, Version: "1.0"},
			Account: iphone.Account{AOR: sipua.NewAOR("bob", "example.com"), Server: softphone.At(serverAddr)},
			Network: iphone.Network{
				Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
					return host.Dial(ctx, netip.AddrPort{}, to.Addr)
				},
				Packet: func() (net.PacketConn, error) { return host.ListenPacket(netip.AddrPortFrom(phoneAddr, 0)) },
				Media:  func() (net.PacketConn, error) { return host.ListenPacket(netip.AddrPortFrom(phoneAddr, 0)) },
				Roam: func() {
					if w.roam != nil {
						w.roam()
					}
				},
			},
			Pushes: w.apns, Audio: softphone.AudioConfig{Source: softphone.Tone(1000)}, Log: slog.New(slog.DiscardHandler),
		}
		if change != nil {
			change(&cfg)
		}
		w.phone = iphone.New(cfg)
		t.Cleanup(w.phone.Close)
		f(t, w)
	})
}

// serve starts the server: a registrar, and a caller with a tone.
func (w *world) serve() {
	host := w.net.Host(serverAddr.Addr())
	ln, err := host.Listen(serverAddr)
	w.must(err)
	pc, err := host.ListenPacket(serverAddr)
	w.must(err)
	w.server, err = softphone.New(softphone.Config{
		AOR: sipua.NewAOR("alice", "example.com"), Display: "Alice", Log: slog.New(slog.DiscardHandler),
		Listeners: []softphone.Listener{{Net: ln, Transport: sipua.TCP}}, Packets: []net.PacketConn{pc},
		Media: func() (net.PacketConn, error) {
			return host.ListenPacket(netip.AddrPortFrom(serverAddr.Addr(), 0))
		},
		Audio: softphone.AudioConfig{Source: softphone.Tone(440)}, Requests: w.register,
	})
	w.must(err)
	w.t.Cleanup(w.server.Close)
}

func (w *world) register(tx *sipua.ServerTx) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.registers <- tx.Request
	res := tx.NewResponse(200, "")
	c := tx.Request.Contact().Clone()
	c.Params.Add("expires", "3600")
	res.AppendHeader(c)
	for _, e := range w.ended {
		res.AppendHeader(sip.NewHeader(header.NameCallEnded, e))
	}
	w.ended = nil
	if w.reply != nil {
		res = w.reply(tx)
	}
	if w.flow != tx.Flow() {
		w.flow = tx.Flow()
		w.flow.OnClose(func(error) { w.gone.Add(1) }) // at once, if it is gone already
	}
	w.contact = *tx.Request.Contact()
	if res != nil {
		if err := tx.Respond(res); err != nil {
			w.t.Log(err)
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	w.t.Cleanup(cancel)
	return ctx
}

// asleep opens the app, lets it register and put to sleep: the phone that the
// server is here for.
func (w *world) asleep() int {
	w.t.Helper()
	w.must(w.phone.Open())
	w.must(w.phone.Ready(w.ctx()))
	time.Sleep(time.Second)
	w.must(w.phone.Sleep())
	time.Sleep(time.Second)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.gone.Load(); n != 1 {
		w.t.Fatalf("%d connections closed by sleep", n)
	}
	for len(w.registers) > 0 {
		<-w.registers
	}
	return w.seq()
}

func (w *world) seq() int { return len(w.phone.Timeline()) }

// incoming is a call on its way to the phone.
type incoming struct {
	id     uuid.UUID
	callID string
}

func newIncoming() incoming {
	id := uuid.New()
	return incoming{id, id.String() + "@node1"}
}

// push sends the push of a call, its UUID in capitals as Swift would write it.
func (w *world) push(kind string, in incoming, change ...func(map[string]any)) {
	w.t.Helper()
	p := map[string]any{"aps": map[string]any{"alert": map[string]any{"title": "Alice"}}, "v": 1, "type": "call", "uuid": strings.ToUpper(in.id.String()),
		"call_id": in.callID, "handle": "201", "name": "Alice", "expires_at": time.Now().Add(25 * time.Second).UnixMilli()}
	for _, c := range change {
		c(p)
	}
	b, err := json.Marshal(p)
	w.must(err)
	w.pushBytes(kind, b)
}

func (w *world) pushBytes(kind string, payload []byte) {
	token := voipToken
	if kind != "voip" {
		token = alertToken
	}
	w.apns.mu.Lock()
	token = w.apns.installed(token)
	w.apns.mu.Unlock()
	w.apns.pushes <- iphone.Push{ID: uuid.NewString(), Token: token, Type: kind, Payload: payload}
}

// registered waits for the phone's REGISTER.
func (w *world) registered() *sip.Request {
	w.t.Helper()
	select {
	case req := <-w.registers:
		return req
	case <-time.After(time.Hour):
		w.t.Fatal("no REGISTER")
		return nil
	}
}

// invite calls the phone over its newest flow.
func (w *world) invite(in incoming, headers ...sip.Header) *softphone.Call {
	w.t.Helper()
	time.Sleep(20 * time.Millisecond) // behind the 200 to REGISTER
	return w.inviteNow(in, headers...)
}

func (w *world) inviteNow(in incoming, headers ...sip.Header) *softphone.Call {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	flow, contact := w.flow, w.contact
	w.mu.Unlock()
	c, err := w.server.Call(softphone.Outgoing{Target: header.StripPush(contact.Address), Flow: flow, CallID: in.callID,
		From:    leg.Address{Name: "Alice", URI: sip.Uri{Scheme: "sip", User: "201", Host: "example.com"}},
		Headers: append([]sip.Header{sip.NewHeader(header.NameCallUUID, in.id.String())}, headers...)})
	w.must(err)
	return c
}

// see waits for an event of the phone behind after.
func (w *world) see(after int, kind iphone.Kind) iphone.Event {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	defer cancel()
	e, err := w.phone.Wait(ctx, after, kind)
	if err != nil {
		w.t.Fatalf("no %q: %v\n%s", kind, err, w.story(after))
	}
	return e
}

// story is what happened on the phone, for messages and comparison.
func (w *world) story(after int) string {
	var out []string
	for _, e := range w.phone.Timeline()[after:] {
		s := string(e.Kind)
		if e.Reason != "" {
			s += "(" + string(e.Reason) + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

// tells compares the story; the phone must have broken no rule.
func (w *world) tells(after int, want ...string) {
	w.t.Helper()
	synctest.Wait()
	if got := w.story(after); got != strings.Join(want, "; ") {
		w.t.Errorf("the phone's story is\n%s\nwanted\n%s", got, strings.Join(want, "; "))
	}
	w.clean()
}

func (w *world) clean() {
	w.t.Helper()
	for _, v := range w.phone.Violations() {
		w.t.Errorf("violation: %+v", v)
	}
}

func (w *world) ends(c *softphone.Call) softphone.Event {
	w.t.Helper()
	e, err := c.Ended(w.ctx())
	w.must(err)
	return e
}

// answered waits for the phone's 200.
func (w *world) answered(c *softphone.Call) {
	w.t.Helper()
	if _, err := c.Wait(w.ctx(), softphone.Answered); err != nil {
		w.t.Fatalf("%v\n%s", err, w.story(0))
	}
}

var errNo = errors.New("no")
