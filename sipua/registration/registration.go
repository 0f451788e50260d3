package registration

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
)

// Config is what a Registration needs. Endpoint, Flow, Registrar, AOR, Contact,
// Emit and Log are required.
type Config struct {
	Endpoint *sipua.Endpoint
	// Flow gives the flow to the registrar: the open one or a new one. It is
	// called before each REGISTER and may wait until ctx ends.
	Flow func(ctx context.Context) (*sipua.Flow, error)
	// Registrar is the Request-URI, for example sip:example.com.
	Registrar sip.Uri
	AOR       sipua.AOR
	// Contact is what to bind, with its URI and header parameters but without
	// expires. It is asked before each REGISTER, so a change of it takes a Refresh.
	Contact func(f *sipua.Flow) sip.ContactHeader
	// Expires is what to ask for. Default: 1h. A 423 raises it.
	Expires time.Duration
	// Credentials answer the registrar's challenges. nil: a challenge is a failure.
	Credentials *digest.Client
	// Headers go into each REGISTER.
	Headers []sip.Header
	Retry   Retry
	// Emit gets the events in order, on the registration's goroutine. It must only
	// post.
	Emit func(Event)
	Log  *slog.Logger
}

// Retry bounds the waiting after failures (RFC 5626 s4.5). Defaults: 30s and 30m.
type Retry struct{ First, Longest time.Duration }

// Registration is one binding that is kept alive.
type Registration struct {
	cfg     Config
	cancel  context.CancelFunc
	ctx     context.Context // ends with Close
	done    chan struct{}
	again   chan struct{} // Refresh
	leaving chan struct{} // closed by Unregister
	once    sync.Once
	left    error // of the un-REGISTER; read after done

	// The goroutine's own.
	callID, tag string
	seq         uint32
	expires     time.Duration
	failures    int
	flow        *sipua.Flow        // of the binding, nil when it is gone or none
	bound       *sip.ContactHeader // as the last REGISTER had it
}

// Start begins to register, at once. Close or Unregister ends it.
func Start(cfg Config) *Registration {
	if cfg.Expires <= 0 {
		cfg.Expires = time.Hour
	}
	if cfg.Retry.First <= 0 {
		cfg.Retry.First = 30 * time.Second
	}
	if cfg.Retry.Longest < cfg.Retry.First {
		cfg.Retry.Longest = max(30*time.Minute, cfg.Retry.First)
	}
	r := &Registration{cfg: cfg, done: make(chan struct{}), again: make(chan struct{}, 1), leaving: make(chan struct{}),
		callID: sipua.NewTag(), tag: sipua.NewTag(), expires: cfg.Expires}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	go r.run() // awaited by Close
	return r
}

// Refresh sends a REGISTER now, for instance because a push came (RFC 8599 s4.1.3)
// or the Contact changed. One that is under way is finished first.
func (r *Registration) Refresh() {
	select {
	case r.again <- struct{}{}:
	default: // one is asked for already
	}
}

// Close ends the registration without a word to the registrar: the binding stays
// until it expires. It waits, so it must not be called by Emit.
func (r *Registration) Close() {
	r.cancel()
	<-r.done
}

// Unregister removes the binding and ends the registration. Without an answer by
// the end of ctx it ends as by Close. Errors: that of the REGISTER, ErrEnded,
// ctx's.
func (r *Registration) Unregister(ctx context.Context) error {
	first := false
	r.once.Do(func() { first = true; close(r.leaving) })
	if !first {
		return ErrEnded
	}
	select {
	case <-r.done:
		return r.left
	case <-ctx.Done():
		r.Close()
		return ctx.Err()
	}
}

// run is the goroutine: each turn of its loop ends with one timer armed.
func (r *Registration) run() {
	defer close(r.done)
	r.left = ErrEnded
	timer := time.NewTimer(r.attempt())
	defer timer.Stop()
	for {
		var gone <-chan struct{}
		if r.flow != nil && r.failures == 0 { // after a failure the back-off counts alone
			gone = r.flow.Done()
		}
		select {
		case <-r.ctx.Done():
			return
		case <-r.leaving:
			r.left = r.remove()
			return
		case <-gone:
			timer.Reset(r.lost())
			continue
		case <-r.again:
		case <-timer.C:
		}
		timer.Reset(r.attempt())
	}
}

// attempt sends a REGISTER and tells what came of it; the result is when to send
// the next one.
func (r *Registration) attempt() time.Duration {
	const never = time.Hour // run ends before
	if r.ended() {
		return never
	}
	res, err := r.register()
	if r.ended() {
		return never
	}
	if err != nil || !res.IsSuccess() {
		return r.failed(res, err)
	}
	return r.registered(res)
}

func (r *Registration) ended() bool { return r.ctx.Err() != nil || r.isLeaving() }

func (r *Registration) isLeaving() bool {
	select {
	case <-r.leaving:
		return true
	default:
		return false
	}
}

// lost is attempt for a flow that went: the first try comes soon, but not with
// everybody else's.
func (r *Registration) lost() time.Duration {
	wait := time.Duration(rand.Float64() * float64(r.cfg.Retry.First) / 2)
	r.flow = nil
	r.cfg.Emit(Lost{Err: sipua.ErrFlowGone, Retry: wait})
	return wait
}

func (r *Registration) registered(res *sip.Response) time.Duration {
	event := Registered{Flow: r.flow, Contacts: contactsOf(res), Response: res}
	r.read(&event)
	event.Expires = granted(res, *r.bound, r.expires)
	if event.Expires <= 0 {
		return r.failed(res, ErrNotBound)
	}
	r.failures = 0
	var early time.Duration
	for _, c := range event.FeatureCaps {
		early = max(early, time.Duration(c.PNSReg)*time.Second)
	}
	event.Refresh = refreshAfter(event.Expires, early, rand.Float64())
	r.flow.Pin(time.Now().Add(event.Expires))
	r.cfg.Emit(event)
	return event.Refresh
}

func (r *Registration) failed(res *sip.Response, err error) time.Duration {
	r.failures++
	event := Failed{Err: err, Response: res}
	var wish time.Duration
	if res != nil {
		event.Status, event.Phrase = res.StatusCode, res.Reason
		wish = retryAfter(res)
	} else {
		event.Status = sipua.Status(err)
		event.Phrase = sipua.Phrase(event.Status)
	}
	failures := r.failures
	if hopeless(event.Status, err) {
		failures = 64 // beyond every doubling
	}
	event.Retry = backOff(r.cfg.Retry, failures, wish, rand.Float64())
	r.cfg.Emit(event)
	return event.Retry
}
