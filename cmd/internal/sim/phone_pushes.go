package sim

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"wakebridge/push/apnssim"
	"wakebridge/sipua/iphone"
)

const (
	pushesTimeout = 5 * time.Second // for each request
	pushesPause   = time.Second     // after the simulator refused to deliver
	pushesWaiting = 64              // deliveries that the phone has not taken
)

// pushes is a phone's end of an APNs simulator in another process.
type pushes struct {
	client *apnssim.Client
	device string
	log    *slog.Logger
	ctx    context.Context // of the run: the phone's own calls have none
	after  uint64          // Seq of what it got in earlier runs
	feed   chan apnssim.Delivery
}

var _ iphone.PushSource = (*pushes)(nil)

// dialPushes makes the device known there. listen must run until ctx ends. Errors:
// ErrOption, those of apnssim.Client.
func dialPushes(ctx context.Context, o PhonePushes, device string, log *slog.Logger) (*pushes, error) {
	client, err := apnssim.NewClient(o.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOption, err)
	}
	env := apnssim.Environment(o.Environment)
	if env == "" {
		env = apnssim.Production
	}
	p := &pushes{client: client, device: device, log: log, ctx: ctx, feed: make(chan apnssim.Delivery, pushesWaiting)}
	within, cancel := context.WithTimeout(ctx, pushesTimeout)
	defer cancel()
	status, err := client.AddDevice(within, device, env)
	if err != nil {
		return nil, fmt.Errorf("APNs simulator at %s: %w", o.URL, err)
	}
	p.after = status.Received
	if !status.Online { // as an earlier run left it
		p.Online(true)
	}
	return p, nil
}

// listen takes what is delivered, until ctx ends; it outlives a simulator that is
// away for a while.
func (p *pushes) listen(ctx context.Context) {
	defer p.client.Close()
	after := p.after
	for {
		err := p.client.Deliveries(ctx, p.device, after, func(d apnssim.Delivery) error {
			after = d.Seq
			select {
			case p.feed <- d:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("APNs simulator", "request", "deliveries", "error", err)
		select {
		case <-time.After(pushesPause):
		case <-ctx.Done():
			return
		}
	}
}

// Next implements iphone.PushSource.
func (p *pushes) Next(ctx context.Context) (iphone.Push, error) {
	select {
	case d := <-p.feed:
		return iphone.Push{ID: d.APNsID, Token: d.Token, Type: d.PushType, Payload: d.Payload}, nil
	case <-ctx.Done():
		return iphone.Push{}, ctx.Err()
	}
}

// RegisterVoIP implements iphone.PushSource.
func (p *pushes) RegisterVoIP(bundle string) string { return p.token(bundle, apnssim.VoIP) }

// RegisterAlert implements iphone.PushSource.
func (p *pushes) RegisterAlert(bundle string) string { return p.token(bundle, apnssim.Alert) }

func (p *pushes) token(bundle string, kind apnssim.Kind) (token string) {
	p.do("tokens", func(ctx context.Context) (err error) {
		token, err = p.client.Register(ctx, p.device, bundle, kind)
		return err
	})
	return token
}

// Reinstall implements iphone.PushSource.
func (p *pushes) Reinstall(bundle string) {
	p.do("reinstall", func(ctx context.Context) error { return p.client.Reinstall(ctx, p.device, bundle) })
}

// Online implements iphone.PushSource.
func (p *pushes) Online(online bool) {
	p.do("online", func(ctx context.Context) error { return p.client.Online(ctx, p.device, online) })
}

// do asks for something; a failure is logged, for a phone that cannot reach Apple
// goes on as well.
func (p *pushes) do(request string, f func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(p.ctx, pushesTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		p.log.Warn("APNs simulator", "request", request, "error", err)
	}
}

// noPushes is a push service that serves nobody.
type noPushes struct{}

func (noPushes) RegisterVoIP(string) string  { return "" }
func (noPushes) RegisterAlert(string) string { return "" }
func (noPushes) Reinstall(string)            {}
func (noPushes) Online(bool)                 {}
func (noPushes) Next(ctx context.Context) (iphone.Push, error) {
	<-ctx.Done()
	return iphone.Push{}, ctx.Err()
}
