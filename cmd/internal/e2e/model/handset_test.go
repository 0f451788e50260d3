package model

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// handset is a simulated iPhone with the correct app, and its place in the network.
type handset struct {
	w      *world
	name   string
	device *iphone.Device
	apns   *apnssim.Device
	index  byte

	mu       sync.Mutex
	moves    byte // counts its addresses
	conns    []net.Conn
	dialling []context.CancelFunc // of what is not connected yet
	airborne bool
	running  bool // its app is not suspended
	shown    map[uuid.UUID]bool
	ups      map[iphone.Kind]int // how often the user held a call and went on
}

// pushes adapts the simulated APNs to the iPhone.
type pushes struct{ *apnssim.Device }

// Next implements iphone.PushService.
func (p pushes) Next(ctx context.Context) (iphone.Push, error) {
	select {
	case d := <-p.Deliveries():
		return iphone.Push{ID: d.APNsID, Token: d.Token, Type: d.PushType, Payload: d.Payload}, nil
	case <-ctx.Done():
		return iphone.Push{}, ctx.Err()
	}
}

// openPhones makes alice's two iPhones and bob's one. The first of alice and bob's
// register and fall asleep, the other one waits for a step that opens it.
func (w *world) openPhones(uint64) error {
	for i, user := range []string{"alice", "bob", "alice"} {
		p := &handset{w: w, name: fmt.Sprintf("phone %d (%s)", i, user), index: byte(i + 1), shown: make(map[uuid.UUID]bool), ups: make(map[iphone.Kind]int)}
		p.apns = w.dev.APNs.NewDevice(p.name)
		p.device = iphone.New(iphone.Config{
			App:     iphone.App{TeamID: daemon.DevTeam, BundleID: daemon.DevBundle, Version: "1.0"},
			Account: iphone.Account{AOR: sipua.NewAOR(user, daemon.DevDomain), Password: password, Server: softphone.At(netip.AddrPortFrom(serverHost, 5060))},
			Network: iphone.Network{Dial: p.dial, Media: w.media(p.addr)}, Pushes: pushes{p.apns}, Observe: p.observe, Log: logger(),
		})
		w.phones = append(w.phones, p)
	}
	for _, p := range w.phones[:2] {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := p.device.Open(); err != nil {
			return err
		}
		if err := p.device.Ready(ctx); err != nil {
			return fmt.Errorf("%s does not register: %w", p.name, err)
		}
		if err := p.device.Sleep(); err != nil {
			return err
		}
	}
	return nil
}

func (p *handset) addr() netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return netip.AddrFrom4([4]byte{10, 1, p.index, p.moves})
}

func (p *handset) dial(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.mu.Lock()
	p.dialling = append(p.dialling, cancel)
	p.mu.Unlock()
	conn, err := p.w.net.Dial(ctx, netip.AddrPortFrom(p.addr(), 0), to.Addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil { // the network went meanwhile
		return nil, errors.Join(ctx.Err(), conn.Close())
	}
	p.conns = append(p.conns, conn)
	return conn, nil
}

// observe follows the timeline.
func (p *handset) observe(e iphone.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case iphone.Launched, iphone.Woken:
		p.running = true
	case iphone.Held, iphone.Resumed:
		p.ups[e.Kind]++
	case iphone.Reported:
		p.shown[e.UUID] = false
	case iphone.UserAnswered:
		p.shown[e.UUID] = true
	case iphone.Ended:
		delete(p.shown, e.UUID)
	case iphone.Suspended, iphone.Killed, iphone.Reinstalled:
		p.running = false
	}
}

// calls counts what is on the screen.
func (p *handset) calls() (ringing, answered int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, taken := range p.shown {
		if taken {
			answered++
		} else {
			ringing++
		}
	}
	return ringing, answered
}

func (p *handset) is() (running, airborne bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running, p.airborne
}

// drop closes the connections, as a NAT or a server on the way does.
func (p *handset) drop() bool {
	p.mu.Lock()
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
	return len(conns) > 0
}

// move gives the phone another address. silent: the server does not hear that the
// old one is gone.
func (p *handset) move(silent bool) error {
	if silent {
		p.w.net.Partition(p.addr(), serverHost)
	}
	p.leave()
	if err := p.device.Airplane(true); err != nil {
		return err
	}
	p.mu.Lock()
	p.moves++
	p.mu.Unlock()
	return p.device.Airplane(false)
}

// leave is the end of the network that the phone is in: what is about to connect
// there fails.
func (p *handset) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cancel := range p.dialling {
		cancel()
	}
	p.dialling = nil
}

func (p *handset) airplane(on bool) error {
	p.leave()
	p.mu.Lock()
	p.airborne = on
	p.mu.Unlock()
	return p.device.Airplane(on)
}

// land brings the phone back, if it is away.
func (p *handset) land() {
	if _, airborne := p.is(); !airborne {
		return
	}
	if err := p.airplane(false); err != nil {
		p.w.breaks("%s: %v", p.name, err)
	}
}

// reinstall gives the app new tokens, which it registers when the user opens it.
func (p *handset) reinstall() error {
	if err := p.device.Reinstall(); err != nil {
		return err
	}
	return p.device.Open()
}

// user is what the user of a phone does to a call on the screen; if it has left the
// screen meanwhile, nothing happens.
func (w *world) user(p *handset, do func(uuid.UUID) error) error {
	if p == nil {
		return nil
	}
	if err := do(uuid.Nil); err != nil && !errors.Is(err, iphone.ErrNoCall) {
		return err
	}
	return nil
}

// nth is the nth of the phones that are so, counted round; nil if none is.
func (w *world) nth(n int, so func(*handset) bool) *handset {
	var fit []*handset
	for _, p := range w.phones {
		if so(p) {
			fit = append(fit, p)
		}
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[n%len(fit)]
}

func (p *handset) rings() bool {
	ringing, _ := p.calls()
	return ringing > 0
}

func (p *handset) talks() bool {
	_, answered := p.calls()
	return answered > 0
}

// onPhone makes a step of what happens to a phone.
func onPhone(do func(*handset) (bool, error)) func(*world, int) (bool, error) {
	return func(w *world, n int) (bool, error) { return do(w.phones[n%len(w.phones)]) }
}

func (p *handset) gone() bool {
	_, airborne := p.is()
	return airborne
}

func (p *handset) dropped() (bool, error) {
	running, _ := p.is()
	return running && p.drop(), nil
}

func (p *handset) moved(silent bool) (bool, error) {
	if running, airborne := p.is(); !running || airborne {
		return false, nil
	}
	return true, p.move(silent)
}

// sleeps: iOS suspends no app that has a call on the screen.
func (p *handset) sleeps() (bool, error) {
	ringing, answered := p.calls()
	if running, _ := p.is(); !running || ringing+answered > 0 {
		return false, nil
	}
	return true, p.device.Sleep()
}

func (p *handset) killed() (bool, error) {
	if running, _ := p.is(); !running {
		return false, nil
	}
	return true, p.device.Kill()
}

func (p *handset) reinstalled() (bool, error) {
	if p.gone() {
		return false, nil
	}
	return true, p.reinstall()
}

func (p *handset) flies(away bool) (bool, error) {
	if p.gone() == away {
		return false, nil
	}
	return true, p.airplane(away)
}
