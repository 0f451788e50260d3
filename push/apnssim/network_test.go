package apnssim_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/push/apnssim"
)

func TestNetworkLoses(t *testing.T) {
	bubbled(t, apnssim.Config{Network: apnssim.Network{Lose: 1}}, func(t *testing.T, b *bench, c *http.Client) {
		if res := b.push(c, nil); res.status != 200 {
			t.Fatalf("answer %+v", res)
		}
		none(t, b, "lost")
		if o := b.outcome(1); o != apnssim.Lost {
			t.Errorf("outcome %q", o)
		}
		must(t, b.SetNetwork(apnssim.Network{}))
		b.push(c, nil)
		next(t, b.device)
	})
}

func TestNetworkDuplicates(t *testing.T) {
	bubbled(t, apnssim.Config{Network: apnssim.Network{Duplicate: 1}}, func(t *testing.T, b *bench, c *http.Client) {
		b.push(c, nil)
		first, again := next(t, b.device), next(t, b.device)
		if first.APNsID != again.APNsID || first.Seq != 1 || again.Seq != 2 {
			t.Errorf("%+v and %+v", first, again)
		}
		b.device.Online(false)
		b.push(c, b.expiring(time.Hour, `{"n":2}`))
		if o := b.outcome(2); o != apnssim.Stored {
			t.Errorf("outcome %q", o)
		}
		b.device.Online(true)
		next(t, b.device)
		none(t, b, "only one is stored")
	})
}

func TestNetworkReorders(t *testing.T) {
	bubbled(t, apnssim.Config{NetDelay: 10 * time.Millisecond}, func(t *testing.T, b *bench, c *http.Client) {
		must(t, b.SetNetwork(apnssim.Network{Reorder: 1, ReorderBy: time.Second}))
		b.push(c, b.expiring(0, `{"n":1}`))
		must(t, b.SetNetwork(apnssim.Network{}))
		b.push(c, b.expiring(0, `{"n":2}`))
		start := time.Now()
		for _, want := range []string{`{"n":2}`, `{"n":1}`} {
			if v := next(t, b.device); string(v.Payload) != want {
				t.Errorf("got %s, want %s", v.Payload, want)
			}
		}
		if d := time.Since(start); d != 1010*time.Millisecond {
			t.Errorf("the held one came after %v", d)
		}
	})
}

func TestNetworkLateZero(t *testing.T) {
	for name, life := range map[string]time.Duration{"expiration 0": 0, "expired while stored": time.Minute} {
		t.Run(name, func(t *testing.T) {
			bubbled(t, apnssim.Config{Network: apnssim.Network{LateZero: 1}}, func(t *testing.T, b *bench, c *http.Client) {
				b.device.Online(false)
				b.push(c, b.expiring(life, `{"n":1}`))
				time.Sleep(2 * time.Minute)
				b.device.Online(true)
				time.Sleep(25*time.Second - 1)
				none(t, b, "before its time")
				time.Sleep(1)
				next(t, b.device)
				if o := b.outcome(1); o != apnssim.Handed {
					t.Errorf("outcome %q", o)
				}
			})
		})
	}
}

func TestBackgroundPushesAreFew(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		background := func(r *http.Request) {
			r.URL.Path = "/3/device/" + b.alert
			r.Header.Set("apns-topic", bundle)
			r.Header.Set("apns-push-type", "background")
			r.Header.Set("apns-priority", "5")
		}
		send := func(n int, want apnssim.Delivered) {
			t.Helper()
			if res := b.push(c, background); res.status != 200 {
				t.Errorf("push %d: %+v", n, res)
			}
			if o := b.outcome(n); o != want {
				t.Errorf("push %d: %q, want %q", n, o, want)
			}
		}
		for n := 1; n <= 3; n++ {
			send(n, apnssim.Handed)
		}
		send(4, apnssim.Throttled)
		b.push(c, nil) // VoIP is not counted
		if o := b.outcome(5); o != apnssim.Handed {
			t.Errorf("VoIP: %q", o)
		}
		time.Sleep(20 * time.Minute)
		send(6, apnssim.Handed)
		send(7, apnssim.Throttled)
	})
}

func TestBadNetworks(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	for _, n := range []apnssim.Network{{Lose: -0.1}, {Duplicate: 1.1}, {Reorder: math.NaN()}, {LateZero: 2}, {ReorderBy: -1}, {LateBy: -1}} {
		if err := b.SetNetwork(n); !errors.Is(err, apnssim.ErrBadNetwork) {
			t.Errorf("%+v: %v", n, err)
		}
		if _, err := apnssim.New(apnssim.Config{Production: b.idleListener(), Network: n}); !errors.Is(err, apnssim.ErrBadNetwork) {
			t.Errorf("New with %+v: %v", n, err)
		}
	}
	if n := b.Network(); n.ReorderBy == 0 || n.LateBy == 0 || n.Lose != 0 {
		t.Errorf("network %+v", n)
	}
}

func TestFollow(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.device.Online(false)
		b.push(c, b.expiring(time.Hour, `{"n":1}`))
		ctx, cancel := context.WithCancel(t.Context())
		var seen []apnssim.Entry
		ended := make(chan error, 1)
		go func() {
			ended <- b.Follow(ctx, 0, func(e apnssim.Entry) error { seen = append(seen, e); return nil })
		}()
		synctest.Wait()
		if len(seen) != 1 || !seen[0].Concluded || seen[0].Verdict.Status != 200 || seen[0].Delivery != apnssim.Stored {
			t.Fatalf("first %+v", seen)
		}
		b.device.Online(true)
		synctest.Wait()
		if len(seen) != 2 || seen[1].Delivery != apnssim.Handed || seen[1].Seq != 1 || seen[1].Change <= seen[0].Change {
			t.Fatalf("then %+v", seen)
		}
		b.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Hang})
		if _, err := b.attempt(c, time.Second); err == nil {
			t.Error("a hanging push was answered")
		}
		synctest.Wait()
		if e := seen[len(seen)-1]; e.Seq != 2 || !e.Concluded || e.Fault != apnssim.Hang || e.Verdict.Status != 0 {
			t.Errorf("last %+v", e)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		stop := errors.New("enough")
		if err := b.Follow(t.Context(), 0, func(apnssim.Entry) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("ended with %v", err)
		}
	})
}
