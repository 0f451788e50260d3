package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"wakebridge/push/apnssim"
	"wakebridge/sipua/iphone"
)

// How long requests to the push service may take, and how it is asked for pushes.
const (
	pushesTimeout = 5 * time.Second
	pushesPoll    = 25 * time.Second
	pushesPause   = time.Second // after a failure
	pushesAnswer  = 8 << 20     // bytes of an answer
)

// errPushes is an answer of the push service that is none.
var errPushes = errors.New("push service")

type pushesConfig struct {
	url         string
	device      string
	environment string
	log         *slog.Logger
}

// pushes is a phone's end of an APNs simulator in another process: its admin API
// over HTTP, with a long poll for what is delivered.
type pushes struct {
	cfg    pushesConfig
	ctx    context.Context // of the run: the phone's own calls have none
	http   *http.Client
	after  uint64 // Seq of the newest delivery that was taken; Next's
	queued []apnssim.Delivery
}

var _ iphone.PushSource = (*pushes)(nil)

// dialPushes makes the device known; what it got in earlier runs is not got again.
func dialPushes(ctx context.Context, cfg pushesConfig) (*pushes, error) {
	cfg.url = strings.TrimSuffix(cfg.url, "/")
	if u, err := url.Parse(cfg.url); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%w: apns %q is no http URL", ErrOption, cfg.url)
	}
	p := &pushes{cfg: cfg, ctx: ctx, http: &http.Client{Transport: &http.Transport{}}}
	var status apnssim.DeviceStatus
	err := p.do(ctx, http.MethodPost, "/v1/devices", map[string]string{"name": cfg.device, "environment": cfg.environment}, &status)
	if err != nil {
		return nil, fmt.Errorf("APNs simulator at %s: %w", cfg.url, err)
	}
	p.after = status.Received
	if !status.Online {
		p.Online(true)
	}
	return p, nil
}

// RegisterVoIP implements iphone.PushSource.
func (p *pushes) RegisterVoIP(bundle string) string { return p.token(bundle, apnssim.VoIP) }

// RegisterAlert implements iphone.PushSource.
func (p *pushes) RegisterAlert(bundle string) string { return p.token(bundle, apnssim.Alert) }

func (p *pushes) token(bundle string, kind apnssim.Kind) string {
	var body struct {
		Token string `json:"token"`
	}
	if !p.tell("/tokens", map[string]string{"bundle": bundle, "kind": string(kind)}, &body) {
		return ""
	}
	return body.Token
}

// Reinstall implements iphone.PushSource.
func (p *pushes) Reinstall(bundle string) {
	p.tell("/reinstall", map[string]string{"bundle": bundle}, nil)
}

// Online implements iphone.PushSource.
func (p *pushes) Online(online bool) {
	if online {
		p.tell("/online", nil, nil)
		return
	}
	p.tell("/offline", nil, nil)
}

// tell posts something of the device; a failure is logged, for a phone that cannot
// reach Apple goes on as well.
func (p *pushes) tell(what string, body, into any) bool {
	ctx, cancel := context.WithTimeout(p.ctx, pushesTimeout)
	defer cancel()
	if err := p.do(ctx, http.MethodPost, p.path(what), body, into); err != nil {
		p.cfg.log.Warn("push service", "request", what, "error", err)
		return false
	}
	return true
}

func (p *pushes) path(what string) string {
	return "/v1/devices/" + url.PathEscape(p.cfg.device) + what
}

// Next implements iphone.PushSource; it outlives a service that is away for a
// while.
func (p *pushes) Next(ctx context.Context) (iphone.Push, error) {
	for len(p.queued) == 0 {
		err := p.fetch(ctx)
		if ctx.Err() != nil {
			p.http.CloseIdleConnections()
			return iphone.Push{}, ctx.Err()
		}
		if err == nil {
			continue
		}
		p.cfg.log.Warn("push service", "request", "deliveries", "error", err)
		select {
		case <-time.After(pushesPause):
		case <-ctx.Done():
		}
	}
	d := p.queued[0]
	p.queued = p.queued[1:]
	return iphone.Push{ID: d.APNsID, Token: d.Token, Type: d.PushType, Payload: d.Payload}, nil
}

func (p *pushes) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pushesPoll+pushesTimeout)
	defer cancel()
	var list []apnssim.Delivery
	err := p.do(ctx, http.MethodGet, p.path(fmt.Sprintf("/deliveries?after=%d&wait=%s", p.after, pushesPoll)), nil, &list)
	if err != nil {
		return err
	}
	for _, d := range list {
		p.after = max(p.after, d.Seq)
	}
	p.queued = append(p.queued, list...)
	return nil
}

// do sends a request and reads a JSON answer into into, unless that is nil.
func (p *pushes) do(ctx context.Context, method, path string, body, into any) error {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.cfg.url+path, content)
	if err != nil {
		return err
	}
	res, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, pushesAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var problem struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(b, &problem) != nil || problem.Detail == "" {
			problem.Detail = http.StatusText(res.StatusCode)
		}
		return fmt.Errorf("%w: %d %s", errPushes, res.StatusCode, problem.Detail)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: answer: %w", errPushes, err)
	}
	return nil
}
