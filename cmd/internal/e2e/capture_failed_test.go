package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/api"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// call lets the app call the PBX; answer says what that does.
func (c *captured) call(ctx context.Context, t *testing.T, flow *sipua.Flow, answer func(*softphone.Call) error) *softphone.Call {
	t.Helper()
	out, err := c.app.Call(softphone.Outgoing{Target: sip.Uri{Scheme: "sip", User: "900123", Host: c.cfg.Domains[0].Name}, Flow: flow})
	if err != nil {
		t.Fatal(err)
	}
	in, err := c.pbx.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := answer(in); err != nil {
		t.Fatal(err)
	}
	return out
}

// Where only failed calls are kept: one that was busy is, with what the app proved
// itself by blanked; one that went well is not, and the API says why.
func TestCaptureOfFailedCalls(t *testing.T) {
	c := startCaptured(t, captureVariant{secure: true, capture: config.Capture{Calls: "failed", Packets: "headers"}})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, registered, err := c.app.RegisterAndWait(ctx, c.account)
	if err != nil {
		t.Fatal(err)
	}
	out := c.call(ctx, t, registered.Flow, (*softphone.Call).Busy)
	if e, err := out.Ended(ctx); err != nil {
		t.Fatal(e, err)
	}
	busy := c.record(t, 0)
	file := c.fetch(t, busy.ID)
	invites := fields(t, file, `sip.Method == "INVITE" && ip.src == `+phoneHost, "sip.auth.username", "sip.auth.digest.response", "frame.comment")
	if len(invites) != 1 || strings.Trim(invites[0][0], `"`) != "alice" || strings.Trim(invites[0][1], `"x`) != "" || invites[0][2] != "over TLS" {
		t.Errorf("the app's INVITE: %v", invites)
	}
	if ended := fields(t, file, "sip.Status-Code == 486", "ip.dst"); len(ended) != 2 {
		t.Errorf("486 came from the PBX and went to the app: %v", ended)
	}

	out = c.call(ctx, t, registered.Flow, func(in *softphone.Call) error { return in.Answer() })
	hears(t, "the app", out, 440)
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	well := c.record(t, 1)
	if busy.Result != bridge.Busy || well.Result != bridge.Answered || well.HangupBy != "caller" {
		t.Errorf("%+v\n%+v", busy, well)
	}
	wait(t, 10*time.Second, "the capture to be removed", func() (bool, string) {
		left, err := filepath.Glob(filepath.Join(c.cfg.Node.DataDir, "captures", "*"))
		return err == nil && len(left) == 1 && strings.Contains(left[0], busy.ID), fmt.Sprint(left, err)
	})
	c.refused(t, well.ID, "The call has no capture", "capture.calls to all")
	c.refused(t, "6f1e9c9e-2c5d-4e0f-9a57-8d2f3b1c4a10", "No such call", "call=")
	c.refused(t, "../wakebridge.db", "No such call", "call=")
}

// refused checks that the API has no capture of a call, and what it says.
func (c *captured) refused(t *testing.T, id, title, fix string) {
	t.Helper()
	var got strings.Builder
	err := api.Client{Server: "http://" + c.HTTPAddr().String()}.Capture(t.Context(), id, &got)
	var p api.Problem
	if !errors.As(err, &p) || p.Status != http.StatusNotFound || p.Title != title || !strings.Contains(p.Fix, fix) || got.Len() > 0 {
		t.Errorf("%s: %v", id, err)
	}
}

// The phone that a push woke knows its call by another id, which finds the capture too.
func TestCaptureByTheUUIDOfADevice(t *testing.T) {
	c := startCaptured(t, captureVariant{capture: config.Capture{Calls: "all", Packets: "headers"}})
	r := c.woken(t)
	c.fetch(t, r.ID)
	wait(t, 5*time.Second, "the record to be stored", func() (bool, string) {
		var got strings.Builder
		err := api.Client{Server: "http://" + c.HTTPAddr().String()}.Capture(t.Context(), r.Attempts[0].UUID, &got)
		return err == nil && got.Len() > 1000, fmt.Sprint(err)
	})
	for _, name := range []string{"captures", filepath.Join("captures", r.ID+".pcapng")} {
		if info, err := os.Stat(filepath.Join(c.cfg.Node.DataDir, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
}
