package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/header"
	"wakebridge/sipua/leg"
)

// inbox is what a light UA's goroutine reads. Posting never waits.
type inbox struct {
	mu     sync.Mutex
	queue  []func()
	signal chan struct{} // one element: there is something
}

func newInbox() *inbox { return &inbox{signal: make(chan struct{}, 1)} }

func (b *inbox) post(fn func()) {
	b.mu.Lock()
	b.queue = append(b.queue, fn)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// run does what was posted.
func (b *inbox) run() {
	b.mu.Lock()
	queue := b.queue
	b.queue = nil
	b.mu.Unlock()
	for _, fn := range queue {
		fn()
	}
}

// habit is what a handset does when a push or a call reaches it.
type habit uint8

const (
	answers  habit = iota
	hangsUp        // answers, and ends the call
	declines       // 603
	busy           // 486
	rings          // and nobody answers
	vanishes       // rings, and loses its connection for good
	ignores        // sleeps on
)

// Times of a handset.
const (
	launches = 50 * time.Millisecond // from a push to the app that runs; iOS takes longer
	lingers  = 40 * time.Millisecond // awake after a call
	hopes    = 3 * time.Second       // awake without a call
	talks    = 100 * time.Millisecond
)

// handset is a sleeping app without audio: a push makes it connect, register, take
// its INVITE and do what its habit is; then it closes its connection.
type handset struct {
	user   string
	number string
	device *apnssim.Device
	rang   chan struct{} // one element per INVITE that rings

	server   netip.AddrPort
	contact  string // parameters of the Contact header
	token    string
	ep       *sipua.Endpoint
	box      *inbox
	habit    habit
	flow     *sipua.Flow // nil: asleep
	busyWith int         // legs
	call     uuid.UUID   // of the newest push
	earlier  map[uuid.UUID]bool
	brief    bool // sleeps as soon as it is registered
	callID   string
	seq      uint32
	patience *time.Timer // until it sleeps without a call
	sleeping []chan struct{}
	failed   func(error)
}

const (
	handsetPassword = "secret"
	bundle          = daemon.DevBundle
)

// newHandset makes a handset that sleeps and never registered. failed gets what goes
// wrong on its side.
func newHandset(user, number string, device *apnssim.Device, server netip.AddrPort, failed func(error)) *handset {
	h := &handset{user: user, number: number, device: device, rang: make(chan struct{}, 16), server: server, failed: failed,
		box: newInbox(), callID: sipua.NewTag(), earlier: make(map[uuid.UUID]bool)}
	h.token = device.RegisterVoIP(bundle)
	h.ep = sipua.New(sipua.Config{Handler: handsetHandler{h}, Log: quiet(), Agent: "handset", Dial: dialFrom(phoneHost)})
	return h
}

func dialFrom(host string) func(context.Context, sipua.Transport, sipua.Destination) (net.Conn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(host + ":0"))}
	return func(ctx context.Context, _ sipua.Transport, to sipua.Destination) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", to.Addr.String())
	}
}

// run is the handset's life, until ctx ends.
func (h *handset) run(ctx context.Context) {
	defer h.ep.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case push := <-h.device.Deliveries():
			if err := h.told(push); err != nil {
				h.failed(err)
			}
			if h.habit != ignores {
				time.AfterFunc(launches, func() { h.box.post(func() { h.wake(ctx) }) })
			}
		case <-h.box.signal:
			h.box.run()
		}
	}
}

// told notes which call a push is for.
func (h *handset) told(push apnssim.Delivery) error {
	var payload struct{ UUID uuid.UUID }
	if err := json.Unmarshal(push.Payload, &payload); err != nil {
		return err
	}
	h.earlier[h.call] = true
	h.call = payload.UUID
	return nil
}

// wake connects and registers. Its goroutine may wait: there is nothing else to do.
func (h *handset) wake(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	flow, err := h.ep.Connect(ctx, sipua.TCP, sipua.Destination{Addr: h.server})
	if err != nil {
		h.failed(err)
		return
	}
	if ctx.Err() != nil {
		return
	}
	h.flow = flow
	// An app that was killed remembers no nonce.
	client := digest.NewClient(digest.Login{Username: h.user, Password: handsetPassword, Realm: daemon.DevDomain})
	h.register(client.Attempt(), nil)
}

func (h *handset) register(attempt *digest.Attempt, credentials []sip.Header) {
	aor := sipua.NewAOR(h.user, daemon.DevDomain)
	registrar := sip.Uri{Scheme: "sip", Host: daemon.DevDomain}
	h.seq++
	req := sip.NewRequest(sip.REGISTER, registrar)
	req.AppendHeader(&sip.FromHeader{Address: *aor.URI(), Params: sip.HeaderParams{{K: "tag", V: sipua.NewTag()}}})
	req.AppendHeader(&sip.ToHeader{Address: *aor.URI()})
	id := sip.CallIDHeader(h.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: h.seq, MethodName: sip.REGISTER})
	req.AppendHeader(sip.NewHeader("Contact", fmt.Sprintf("<sip:%s@%s;transport=tcp;pn-provider=apns;pn-param=%s.%s.voip;pn-prid=%s>%s",
		h.user, h.flow.Local(), daemon.DevTeam, bundle, h.token, h.contact)))
	req.AppendHeader(sip.NewHeader("Expires", "86400"))
	digest.Apply(req, credentials)
	_, err := h.ep.Request(h.flow, req, func(res *sip.Response, err error) {
		h.box.post(func() { h.registered(attempt, registrar, res, err) })
	})
	if err != nil {
		h.failed(err)
		h.sleep()
	}
}

func (h *handset) registered(attempt *digest.Attempt, registrar sip.Uri, res *sip.Response, err error) {
	if err == nil && res.IsProvisional() || h.flow == nil {
		return
	}
	if err == nil && res.StatusCode == 401 {
		challenges, _ := digest.ChallengesOf(res)
		var credentials []sip.Header
		if credentials, err = attempt.Answer(challenges, string(sip.REGISTER), registrar.String()); err == nil {
			h.register(attempt, credentials)
			return
		}
	}
	brief := h.brief
	h.brief = false
	switch {
	case err != nil:
		h.failed(fmt.Errorf("%s: REGISTER: %w", h.user, err))
		h.sleep()
	case res.StatusCode != 200:
		h.failed(fmt.Errorf("%s: REGISTER: %d %s", h.user, res.StatusCode, res.Reason))
		h.sleep()
	case h.busyWith > 0:
	case brief, h.isOver(res):
		h.sleep()
	default:
		h.sleepAfter(hopes)
	}
}

// isOver says that the 200 to a REGISTER tells the end of the call that the handset
// was woken for.
func (h *handset) isOver(res *sip.Response) bool {
	for _, v := range sipua.Values(res, header.NameCallEnded) {
		ended, _, _ := strings.Cut(v, ";")
		if id, err := uuid.Parse(ended); err == nil && id == h.call {
			return true
		}
	}
	return false
}

// sleepAfter sleeps unless a call comes within d.
func (h *handset) sleepAfter(d time.Duration) {
	if h.patience != nil {
		h.patience.Stop()
	}
	flow := h.flow
	h.patience = time.AfterFunc(d, func() {
		h.box.post(func() {
			if h.busyWith == 0 && h.flow == flow {
				h.sleep()
			}
		})
	})
}

func (h *handset) sleep() {
	if h.flow != nil {
		h.flow.Shut(errAsleep)
		h.flow = nil
	}
	for _, c := range h.sleeping {
		close(c)
	}
	h.sleeping = nil
}

var errAsleep = errors.New("the handset sleeps")

// refresh registers without a push and sleeps on.
func (h *handset) refresh(ctx context.Context) {
	done := make(chan struct{})
	h.box.post(func() {
		h.brief = true
		h.wake(ctx)
		close(done)
	})
	<-done
	<-h.asleep()
}

// asleep is closed as soon as the handset sleeps.
func (h *handset) asleep() <-chan struct{} {
	c := make(chan struct{})
	h.box.post(func() {
		if h.flow == nil {
			close(c)
			return
		}
		h.sleeping = append(h.sleeping, c)
	})
	return c
}

// be gives the handset a habit.
func (h *handset) be(what habit) {
	h.box.post(func() { h.habit = what })
	select {
	case <-h.rang:
	default:
	}
}

// handsetHandler is what its endpoint calls.
type handsetHandler struct{ h *handset }

func (handsetHandler) FlowGone(*sipua.Flow, error) {}

func (handsetHandler) Request(tx *sipua.ServerTx) { tx.Reject(sipua.Reject(481, "")) }

func (e handsetHandler) Invite(tx *sipua.ServerTx) {
	h := e.h
	id, err := uuid.Parse(sipua.Value(tx.Request, header.NameCallUUID))
	if err != nil {
		h.failed(fmt.Errorf("INVITE without its UUID: %w", err))
	}
	made := make(chan *leg.Leg, 1)
	h.box.post(func() { h.invited(<-made, id) }) // before any event of the leg
	made <- leg.NewUAS(leg.Config{Endpoint: h.ep, Post: h.box.post, Log: quiet(), ContactUser: h.user,
		Emit: func(l *leg.Leg, ev leg.Event) { h.event(l, id, ev) }}, tx)
}

func (h *handset) invited(l *leg.Leg, call uuid.UUID) {
	h.busyWith++
	if h.earlier[call] { // only tells that an earlier call is over, by its CANCEL
		h.check(l.Ring())
		return
	}
	if h.habit == busy || h.habit == ignores {
		h.check(l.Reject(486, ""))
		return
	}
	h.check(l.Ring())
	select {
	case h.rang <- struct{}{}:
	default:
	}
	switch h.habit {
	case answers, hangsUp:
		h.check(l.Answer(sessionAt(phoneHost)))
	case declines:
		h.check(l.Reject(603, ""))
	case vanishes:
		// Long after the 180: what the server hears first must not be luck.
		time.AfterFunc(500*time.Millisecond, func() { h.box.post(h.sleep) })
	}
}

// check reports the error of a verb, but for the call's being over meanwhile.
func (h *handset) check(err error) {
	if err != nil && !errors.Is(err, leg.ErrEnded) && !errors.Is(err, leg.ErrState) && !errors.Is(err, sipua.ErrFlowGone) {
		h.failed(err)
	}
}

func (h *handset) event(l *leg.Leg, call uuid.UUID, ev leg.Event) {
	switch ev.(type) {
	case leg.Confirmed:
		if h.habit == hangsUp {
			time.AfterFunc(talks, func() { h.box.post(func() { h.check(l.Bye()) }) })
		}
	case leg.FlowLost:
		l.Drop()
	case leg.Ended:
		if h.busyWith--; h.busyWith > 0 {
			return
		}
		if h.earlier[call] {
			h.sleepAfter(hopes) // the call that it was woken for is still to come
			return
		}
		h.sleepAfter(lingers)
	}
}

// sessionAt is a description with audio at host; nothing is ever sent.
func sessionAt(host string) []byte {
	return []byte("v=0\r\no=- 1 1 IN IP4 " + host + "\r\ns=-\r\nc=IN IP4 " + host + "\r\nt=0 0\r\n" +
		"m=audio 40000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n")
}
