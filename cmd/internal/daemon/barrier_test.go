package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/push"
	"wakebridge/sipua/location"
)

// A panic in the work around pushes costs one phone its push, and the server nothing.
func TestPanicAroundAPush(t *testing.T) {
	tests := map[string]func(n *night, armed *atomic.Bool){
		"asking a phone to register again": func(n *night, armed *atomic.Bool) {
			r := newRefresher(n.waker, n.memory, func(location.FlowID) bool { explode(armed); return false })
			defer r.close()
			n.phone("1", 7*day, 7, alertToken)
			n.phone("2", 7*day, 7, alertToken+"2")
			n.pass(7 * day)
		},
		"noting a refused push": func(n *night, armed *atomic.Bool) {
			n.waker.settle = nil
			n.post.answer = func() push.Result {
				if armed.Swap(false) {
					return push.Result{Outcome: push.Refused, Reason: "Unregistered", Status: 410, Dead: push.TokenDead{Kind: push.Background, Token: alertToken, Since: time.Now()}}
				}
				return push.Result{Outcome: push.Accepted, Status: 200}
			}
			r := newRefresher(n.waker, n.memory, func(location.FlowID) bool { return false })
			defer r.close()
			n.phone("1", 7*day, 0, alertToken)
			n.phone("2", 7*day, 0, alertToken+"2")
			n.pass(7 * day)
		},
		"telling of a missed call": func(n *night, armed *atomic.Bool) {
			a := newAlerts(n.waker, n.memory, func(bridge.Record) { explode(armed) }, slog.New(slog.DiscardHandler))
			var rec bridge.Record
			rec.Attempts = []bridge.AttemptRecord{{Device: "1"}, {Device: "2"}}
			for i, name := range []string{"1", "2"} {
				a.Missed([]bridge.Missed{missedBy(n.phone(name, day, 0, alertToken+name), "u"+name, time.Second, i)}, rec)
			}
			n.pass(time.Minute)
			a.close()
		},
		"a phone that is told of a missed call": func(n *night, armed *atomic.Bool) {
			a := newAlerts(n.waker, n.memory, func(bridge.Record) {}, slog.New(panicking{slog.DiscardHandler, armed}))
			var rec bridge.Record
			rec.Attempts = []bridge.AttemptRecord{{Device: "1"}, {Device: "2"}}
			a.Missed([]bridge.Missed{missedBy(n.phone("1", day, 0, alertToken), "u1", time.Second, 0),
				missedBy(n.phone("2", day, 0, alertToken+"2"), "u2", 2*time.Second, 1)}, rec)
			n.pass(time.Minute)
			a.close()
		},
	}
	for name, work := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNight(t, location.Rules{AfterExpiry: true})
				defer n.shut()
				var armed atomic.Bool
				armed.Store(true)
				log, reg := &bytes.Buffer{}, prometheus.NewRegistry()
				n.waker.log, n.waker.panics = slog.New(slog.NewTextHandler(log, nil)), newPanics(reg)
				work(n, &armed)
				families, err := reg.Gather()
				if err != nil {
					t.Fatal(err)
				}
				if c := families[0].GetMetric()[0].GetCounter().GetValue(); c != 1 || strings.Count(log.String(), "msg=panic") != 1 {
					t.Errorf("%v counted; log:\n%s", c, log)
				}
				to := map[push.DeviceToken]bool{}
				for _, p := range n.post.all() {
					to[p.to] = true
				}
				if !to[alertToken+"2"] {
					t.Errorf("the other phone got no push: %v", to)
				}
			})
		})
	}
}

// panicking is a log that panics once.
type panicking struct {
	slog.Handler
	armed *atomic.Bool
}

func (panicking) Enabled(context.Context, slog.Level) bool { return true }

func (p panicking) Handle(context.Context, slog.Record) error {
	explode(p.armed)
	return nil
}

// explode panics once when it is armed.
func explode(armed *atomic.Bool) {
	if armed.Swap(false) {
		panic("a fault of ours")
	}
}
