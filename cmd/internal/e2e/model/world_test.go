package model

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/media/audio"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/cmd/internal/e2e/invariants"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/memnet"
	"wakebridge/sipua/softphone"
)

const password = "secret"

// Where everybody is. Phones have a network each, in which they move.
var (
	serverHost = netip.MustParseAddr("10.0.0.1")
	pbxHost    = netip.MustParseAddr("10.0.0.2")
	deskHost   = netip.MustParseAddr("10.0.0.3")
	appleHost  = netip.MustParseAddr("17.0.0.1")
)

// world is a server with all its peers, in a bubble of virtual time.
type world struct {
	net      *memnet.Network
	dev      *daemon.Development
	server   *daemon.Daemon
	observer *invariants.Observer
	pbx      *softphone.Phone
	desk     *softphone.Phone
	phones   []*handset
	callers  []*caller
	wg       sync.WaitGroup // answers of the PBX
	stop     context.CancelFunc
	lossy    bool // now or before: nobody may be sure of anything that goes to the PBX

	credential credential

	telling bool // the story is wanted
	mu      sync.Mutex
	heard   []message
	found   []string // broken promises that only this world can see
}

// caller is a call as its caller sees it.
type caller struct {
	*softphone.Call
	hungUp bool
}

// over says that the caller knows that his call has ended.
func (c *caller) over() bool {
	events := c.Events()
	return len(events) > 0 && events[len(events)-1].Kind == softphone.Ended
}

func newWorld(seed uint64, telling bool) (*world, error) {
	w := &world{telling: telling, net: memnet.New(memnet.Options{Seed: seed})}
	// Or who is first is a matter of luck.
	w.net.Impair(netip.Addr{}, netip.Addr{}, memnet.Impairment{Delay: 10 * time.Millisecond})
	for _, open := range []func(uint64) error{w.openServer, w.openCallers, w.openPhones} {
		if err := open(seed); err != nil {
			return w, err
		}
	}
	return w, nil
}

func (w *world) openServer(seed uint64) error {
	apple := w.net.Host(appleHost)
	production, err := apple.Listen(netip.AddrPortFrom(appleHost, 443))
	if err != nil {
		return err
	}
	sandbox, err := apple.Listen(netip.AddrPortFrom(appleHost, 2197))
	if err != nil {
		return err
	}
	w.dev, err = daemon.NewDevelopmentWith(apnssim.Config{Production: production, Sandbox: sandbox, Names: []string{appleHost.String()},
		NetDelay: 80 * time.Millisecond, JournalSize: 1 << 14, Seed: seed})
	if err != nil {
		return err
	}
	cfg := w.dev.Config
	cfg.Node.ID = "n1"
	for i := range cfg.Listen {
		cfg.Listen[i].Bind = netip.AddrPortFrom(serverHost, 5060)
	}
	cfg.HTTP.Bind = netip.AddrPort{}
	cfg.Media.Bind = []netip.Addr{serverHost}
	if seed%16 == 0 { // its packets cost time
		cfg.Media.RingbackSound = audio.Ringback("uk")
	}
	cfg.Trunks[0].Match, cfg.Trunks[0].Contact = []netip.Prefix{netip.PrefixFrom(pbxHost, 32)}, fmt.Sprintf("sip:%s:5060", pbxHost)
	for i := range cfg.Domains[0].Users {
		cfg.Domains[0].Users[i].Password = config.NewSecret(password)
	}
	if err := w.openCredential(seed); err != nil {
		return err
	}
	w.observer = invariants.New(invariants.Limits{Ring: cfg.Calls.RingTimeout})
	return w.startServer()
}

func logger() *slog.Logger {
	if os.Getenv("MODEL_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// openCallers makes a PBX, which answers what comes to it, and bob's desk phone,
// which only calls.
func (w *world) openCallers(uint64) error {
	pc, err := w.net.Host(pbxHost).ListenPacket(netip.AddrPortFrom(pbxHost, 5060))
	if err != nil {
		return err
	}
	w.pbx, err = softphone.New(softphone.Config{AOR: sipua.NewAOR("100", pbxHost.String()), Packets: []net.PacketConn{pc},
		Media: w.media(func() netip.Addr { return pbxHost }), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	desk := w.net.Host(deskHost)
	w.desk, err = softphone.New(softphone.Config{AOR: sipua.NewAOR("bob", daemon.DevDomain), Password: password,
		Dial: func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
			return desk.Dial(ctx, netip.AddrPort{}, to.Addr)
		},
		Media: w.media(func() netip.Addr { return deskHost }), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	w.wg.Go(func() { w.answer(ctx) })
	return nil
}

func (w *world) media(at func() netip.Addr) func() (net.PacketConn, error) {
	return func() (net.PacketConn, error) { return w.net.ListenPacket(netip.AddrPortFrom(at(), 0)) }
}

// answer is the PBX: its users answer after a second.
func (w *world) answer(ctx context.Context) {
	for {
		c, err := w.pbx.Accept(ctx)
		if err != nil {
			return
		}
		w.wg.Go(func() {
			if err := c.Ring(); err != nil {
				return // cancelled already
			}
			select {
			case <-time.After(time.Second):
				if err := c.Answer(); err != nil {
					return // cancelled meanwhile
				}
			case <-ctx.Done():
			}
		})
	}
}

// call places a call; what becomes of it is for the steps to come.
func (w *world) call(from *softphone.Phone, transport sipua.Transport, number string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	flow, err := from.Connect(ctx, transport, softphone.At(netip.AddrPortFrom(serverHost, 5060)))
	if err != nil {
		return fmt.Errorf("no connection to the server: %w", err)
	}
	host := daemon.DevDomain
	if from == w.pbx {
		host = serverHost.String()
	}
	c, err := from.Call(softphone.Outgoing{Flow: flow, Target: sip.Uri{Scheme: "sip", User: number, Host: host}})
	if err != nil {
		return err
	}
	w.observer.Placed(c)
	w.callers = append(w.callers, &caller{Call: c})
	return nil
}

// live are the calls that their callers have not ended yet.
func (w *world) live() []*caller {
	var out []*caller
	for _, c := range w.callers {
		if !c.hungUp && !c.over() {
			out = append(out, c)
		}
	}
	return out
}

func (w *world) breaks(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = append(w.found, fmt.Sprintf(format, args...))
}

// calm takes back all that ails the network, the phones and Apple, lets the callers
// hang up, and waits until the last timer has run out: RFC 3261's transactions live
// 32 s, a call with a lost ACK twice that.
func (w *world) calm() {
	if _, err := appleWorks(w, 0); err != nil {
		w.breaks("Apple is not to be mended: %v", err)
	}
	w.loss(0)
	for _, p := range w.phones {
		p.land()
	}
	for _, c := range w.live() {
		c.hangUp(w)
	}
	time.Sleep(4 * time.Minute)
	w.mended()
	synctest.Wait()
}

func (c *caller) hangUp(w *world) {
	c.hungUp = true
	if err := c.Hangup(); err != nil && !c.over() && !errors.Is(err, sipua.ErrFlowGone) {
		w.breaks("the caller cannot hang up: %v", err)
	}
}

// loss sets how many percent of the datagrams to and from the PBX are lost.
func (w *world) loss(percent int) {
	w.lossy = w.lossy || percent > 0
	w.net.ImpairBoth(serverHost, pbxHost, memnet.Impairment{Delay: 10 * time.Millisecond, Loss: float64(percent) / 100})
}

// check says what was broken. The world must be calm.
func (w *world) check() []string {
	phones := make([]invariants.Phone, 0, len(w.phones))
	for _, p := range w.phones {
		phone := invariants.PhoneOf(p.name, p.device)
		if w.lossy {
			phone.Unsure = "datagrams to and from the PBX were lost"
		}
		phones = append(phones, phone)
	}
	out := w.observer.Check(w.dev.APNs.Requests(apnssim.Filter{}), phones...)
	w.mu.Lock()
	out = append(out, w.found...)
	w.mu.Unlock()
	return append(out, w.left()...)
}

// left is what calls must not leave behind.
func (w *world) left() []string {
	var out []string
	counts := func(what string, n int) {
		if n != 0 {
			out = append(out, fmt.Sprintf("left behind: %d %s", n, what))
		}
	}
	counts("calls", w.server.Bridge().Active())
	counts("media ports", w.server.Media().PortsInUse())
	_, dialogs, servers, clients := w.server.Endpoint().Sizes()
	counts("dialogs", dialogs)
	counts("server transactions", servers)
	counts("client transactions", clients)
	for _, c := range w.callers {
		if !c.over() {
			out = append(out, "a caller does not know that his call is over")
		}
	}
	return out
}

// close takes the world down.
func (w *world) close() {
	if w.stop != nil {
		w.stop()
	}
	w.wg.Wait()
	for _, p := range w.phones {
		p.device.Close()
	}
	for _, p := range []*softphone.Phone{w.pbx, w.desk} {
		if p != nil {
			p.Close()
		}
	}
	if w.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		w.server.Stop(ctx)
	}
	if w.dev != nil {
		w.dev.Close()
	}
	w.net.Close()
}
