package push

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// inFlight is how many pushes of one app are under way at once unless
	// Config says otherwise.
	inFlight = 200
	// longest is how long a push may take at all: as long as CallKit rings.
	longest = time.Minute
)

// Request is an order to push.
type Request struct {
	Device       Device
	Want         Want
	Notification Notification
	// Heard gets what the service still said, within HearOut, to a push that was
	// stopped, and reported as such, when its request was on its way. nil: it is not
	// waited for. A Dispatcher calls it, like report.
	Heard func(Result)
}

// Config is what a Delivery needs.
type Config struct {
	Mux *Mux
	// InFlight bounds the pushes of one app under way at once; more wait for
	// a place until their deadline. Default: 200.
	InFlight int
	Log      *slog.Logger          // Default: none.
	Metrics  prometheus.Registerer // Default: none.
}

// Delivery brings pushes out: it finds the app, applies the policy, waits for
// a place in flight and lets the sender work until the deadline. It starts no
// goroutine of its own.
type Delivery struct {
	mux     *Mux
	places  map[App]chan struct{}
	log     *slog.Logger
	metrics *metrics
}

// NewDelivery makes a Delivery. The error is that of registering metrics.
func NewDelivery(c Config) (*Delivery, error) {
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	if c.InFlight <= 0 {
		c.InFlight = inFlight
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := &Delivery{mux: c.Mux, places: make(map[App]chan struct{}), log: c.Log, metrics: m}
	for _, app := range c.Mux.apps() {
		d.places[app] = make(chan struct{}, c.InFlight)
	}
	return d, nil
}

// Deliver sends one push and returns when it was accepted or refused, when ctx
// ended (Stopped, Deadline), or at the notification's ExpiresAt, at the latest
// after a minute (Deadline). A refusal that a person may mend is told in
// Result.Text.
func (d *Delivery) Deliver(ctx context.Context, req Request) Result {
	start := time.Now()
	route, ok := d.mux.Find(req.Device.App)
	var r Result
	if ok {
		r = d.send(ctx, route, req, start)
	} else {
		r = Result{Outcome: Refused, Reason: UnknownApp}
	}
	if r.Text == "" {
		r.Text = words(r, req.Device.App)
	}
	r.Latency = time.Since(start)
	d.metrics.count(route.App, r)
	d.tell(ctx, req, r)
	return r
}

func (d *Delivery) send(ctx context.Context, route Route, req Request, now time.Time) Result {
	choice := Choose(req.Want, route.Sender.Can(), req.Device)
	if choice.Reason != "" {
		return Result{Outcome: Refused, Kind: choice.Kind, Reason: choice.Reason}
	}
	n := complete(req.Notification, choice.Kind, now)
	deadline := now.Add(longest)
	if !n.ExpiresAt.IsZero() && n.ExpiresAt.Before(deadline) {
		deadline = n.ExpiresAt
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return Result{Kind: n.Kind, ID: n.ID, Reason: Ended(err)}
	}
	places := d.places[route.App]
	select {
	case places <- struct{}{}:
		defer func() { <-places }()
	default:
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		case <-ctx.Done():
			r := Result{Kind: n.Kind, ID: n.ID, Reason: Overloaded}
			if errors.Is(ctx.Err(), context.Canceled) {
				r.Reason = Stopped
			}
			return r
		}
	}
	if h := HearingOf(ctx); h != nil {
		h.complete = func(r Result) Result {
			r.Kind, r.ID, r.Latency = n.Kind, n.ID, time.Since(now)
			r.Text = words(r, route.App)
			return r
		}
	}
	r := route.Sender.Send(ctx, Target{Token: choice.Token, Environment: req.Device.Environment, Likely: req.Device.Likely}, n)
	r.Kind, r.ID = n.Kind, n.ID
	return r
}

// complete fills in what the caller left to us.
func complete(n Notification, k Kind, now time.Time) Notification {
	n.Kind = k
	if n.ID == "" {
		n.ID = uuid.NewString()
	}
	if n.SentAt.IsZero() {
		n.SentAt = now
	}
	switch {
	case k == VoIP || k == Cancel:
		n.CollapseID = ""
	case n.CollapseID == "":
		n.CollapseID = n.UUID
	}
	return n
}

// tell logs a result once, in words.
func (d *Delivery) tell(ctx context.Context, req Request, r Result) {
	level := slog.LevelWarn
	switch {
	case r.Outcome == Accepted:
		level = slog.LevelInfo
	case r.Reason == Stopped:
		level = slog.LevelDebug
	}
	token := req.Device.VoIP
	if r.Kind == Alert || r.Kind == Background {
		token = req.Device.Alert
	}
	attrs := []slog.Attr{
		slog.String("result", r.Outcome.String()),
		slog.String("uuid", clean(req.Notification.UUID)),
		slog.String("app", clean(req.Device.App.BundleID)),
		slog.String("kind", string(r.Kind)),
		slog.Any("token", token),
		slog.String("env", string(r.Environment)),
		slog.String("push_id", r.ID),
		slog.Float64("latency_ms", float64(r.Latency.Microseconds())/1000),
		slog.Int("tries", r.Tries),
		slog.Bool("hedged", r.Hedged),
	}
	if r.Outcome != Accepted {
		attrs = append(attrs, slog.String("reason", clean(string(r.Reason))), slog.Int("status", r.Status), slog.String("text", r.Text))
	}
	if !r.Dead.IsZero() {
		attrs = append(attrs, slog.Time("token_dead_since", r.Dead.Since))
	}
	d.log.LogAttrs(ctx, level, "push", attrs...)
}

// Ended is the reason for a push whose context ended with err: Deadline or
// Stopped.
func Ended(err error) Reason {
	if errors.Is(err, context.DeadlineExceeded) {
		return Deadline
	}
	return Stopped
}

// words says for people what our own reasons mean.
func words(r Result, app App) string {
	if r.Outcome == Accepted {
		return "the push was accepted"
	}
	switch r.Reason {
	case UnknownApp:
		return "no app " + quoted(app) + " in push.apps"
	case NoToken:
		return "the device has no " + string(r.Kind) + " token"
	case NoCredential:
		return "no key or certificate of " + quoted(app) + " may send " + string(r.Kind) + " pushes"
	case Deadline:
		return "the push service did not answer in time"
	case Stopped:
		return "the push was stopped: it is no longer needed"
	case Overloaded:
		return "too many pushes under way: this one found no place in time"
	}
	return "the push failed: " + clean(string(r.Reason))
}

func quoted(app App) string {
	name := app.BundleID
	if app.TeamID != "" {
		name = app.TeamID + "." + name
	}
	return `"` + cut(clean(name), maxName) + `"`
}
