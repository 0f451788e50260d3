package apnssim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client is a phone's access to a simulator in another process, over its admin
// handler. It may be used by any number of goroutines.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client for the admin handler at base, an http URL without
// path. hc may be nil; if not, it must have no overall time limit, for streams
// have no end. Errors: what is wrong with base.
func NewClient(base string, hc *http.Client) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("apnssim: admin address: %w", err)
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("apnssim: admin address %q is not an http URL", base)
	}
	if hc == nil {
		hc = &http.Client{Transport: &http.Transport{}}
	}
	return &Client{base: strings.TrimRight(base, "/"), http: hc}, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// AddDevice makes a device, or finds it and says how its apps are signed from
// now on. Errors: ErrRemote, those of the network.
func (c *Client) AddDevice(ctx context.Context, name string, env Environment) (DeviceStatus, error) {
	var status DeviceStatus
	err := c.do(ctx, http.MethodPost, "/v1/devices", map[string]any{"name": name, "environment": env}, &status)
	return status, err
}

// Register returns the token of an app on a device, as Device.RegisterVoIP
// does. Errors: ErrRemote, those of the network.
func (c *Client) Register(ctx context.Context, device, bundle string, kind Kind) (string, error) {
	var got struct {
		Token string `json:"token"`
	}
	err := c.do(ctx, http.MethodPost, devicePathOf(device, "tokens"), map[string]any{"bundle": bundle, "kind": kind}, &got)
	return got.Token, err
}

// Online connects the device to the push service or takes it off.
// Errors: ErrRemote, those of the network.
func (c *Client) Online(ctx context.Context, device string, online bool) error {
	verb := "offline"
	if online {
		verb = "online"
	}
	return c.do(ctx, http.MethodPost, devicePathOf(device, verb), nil, nil)
}

// Reinstall removes the app and installs it again; see Device.Reinstall.
// Errors: ErrRemote, those of the network.
func (c *Client) Reinstall(ctx context.Context, device, bundle string) error {
	return c.do(ctx, http.MethodPost, devicePathOf(device, "reinstall"), map[string]any{"bundle": bundle}, nil)
}

func devicePathOf(device, rest string) string {
	return "/v1/devices/" + url.PathEscape(device) + "/" + rest
}

// reconnectPause is the wait before a stream that broke is asked for again.
const reconnectPause = 250 * time.Millisecond

// Deliveries calls tell with every delivery to the device whose Seq is above
// after, as they come, and does not end by itself: a stream that breaks is
// taken up where it was. Errors: tell's, ctx's, ErrRemote when the simulator
// refuses (it does not know the device, for instance).
func (c *Client) Deliveries(ctx context.Context, device string, after uint64, tell func(Delivery) error) error {
	for {
		var told error
		err := c.stream(ctx, devicePathOf(device, "stream?after="+strconv.FormatUint(after, 10)), func(d Delivery) error {
			after = d.Seq
			told = tell(d)
			return told
		})
		switch {
		case told != nil:
			return told
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrRemote):
			return err
		}
		pause := time.NewTimer(reconnectPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
	}
}

func (c *Client) stream(ctx context.Context, path string, tell func(Delivery) error) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	for dec := json.NewDecoder(resp.Body); ; {
		var d Delivery
		if err := dec.Decode(&d); err != nil {
			return err
		}
		if err := tell(d); err != nil {
			return err
		}
	}
}

// do sends one request and reads its answer into into, unless that is nil.
func (c *Client) do(ctx context.Context, method, path string, body, into any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	if into == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("apnssim: %s %s: %w", method, path, err)
	}
	return nil
}

// send returns an answer of success; the caller closes its body.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("apnssim: encode request: %w", err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("apnssim: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // it was only read
	var p struct {
		Detail string `json:"detail"`
	}
	if json.NewDecoder(io.LimitReader(resp.Body, maxAdminBody)).Decode(&p) != nil {
		p.Detail = "no explanation"
	}
	return nil, fmt.Errorf("%w: %s: %s", ErrRemote, resp.Status, p.Detail)
}
