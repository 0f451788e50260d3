package apnssim_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/push/apnssim"
	"wakebridge/sipua/memnet"
)

// bubbled runs f with a simulator on a network in memory and virtual time.
func bubbled(t *testing.T, cfg apnssim.Config, f func(*testing.T, *bench, *http.Client)) {
	synctest.Test(t, func(t *testing.T) {
		network := memnet.New(memnet.Options{})
		apple, sender := netip.MustParseAddrPort("17.0.0.1:443"), netip.MustParseAddrPort("10.0.0.1:0")
		ln, err := network.Listen(apple)
		must(t, err)
		cfg.Production = ln
		b := newBench(t, cfg)
		c := b.clientVia(func(ctx context.Context) (net.Conn, error) { return network.Dial(ctx, sender, apple) })
		f(t, b, c)
		c.CloseIdleConnections()
		must(t, b.Close())
		must(t, network.Close())
	})
}

// none fails if the device got something.
func none(t *testing.T, b *bench, what string) {
	t.Helper()
	synctest.Wait()
	select {
	case v := <-b.device.Deliveries():
		t.Errorf("%s: delivered %s", what, v.Payload)
	default:
	}
}

func (b *bench) outcome(n int) apnssim.Delivered {
	b.t.Helper()
	synctest.Wait()
	all := b.Requests(apnssim.Filter{})
	if len(all) < n {
		b.t.Fatalf("%d requests, want %d", len(all), n)
	}
	return all[n-1].Delivery
}

// expiring sets the header to d from now; negative: no header; 0: "0".
func (b *bench) expiring(d time.Duration, payload string) func(*http.Request) {
	return func(r *http.Request) {
		body(r, payload)
		switch {
		case d < 0:
			r.Header.Del("apns-expiration")
		case d == 0:
			r.Header.Set("apns-expiration", "0")
		default:
			r.Header.Set("apns-expiration", strconv.FormatInt(b.now().Add(d).Unix(), 10))
		}
	}
}

func TestNetDelay(t *testing.T) {
	bubbled(t, apnssim.Config{NetDelay: 300 * time.Millisecond}, func(t *testing.T, b *bench, c *http.Client) {
		start := time.Now()
		b.push(c, nil)
		if took := time.Since(start); took != 0 {
			t.Errorf("the answer took %v of virtual time", took)
		}
		v := next(t, b.device)
		if took := time.Since(start); took != 300*time.Millisecond || v.DeliveredAt.Sub(v.ReceivedAt) != took {
			t.Errorf("delivered after %v, says %v", took, v.DeliveredAt.Sub(v.ReceivedAt))
		}
		if got := b.outcome(1); got != apnssim.Handed {
			t.Errorf("journal says %q", got)
		}
	})
}

func TestSameDelayKeepsOrder(t *testing.T) {
	bubbled(t, apnssim.Config{NetDelay: time.Second}, func(t *testing.T, b *bench, c *http.Client) {
		for i := range 20 {
			b.push(c, b.expiring(0, `{"n":`+strconv.Itoa(i)+`}`))
		}
		for i := range 20 {
			if v := next(t, b.device); string(v.Payload) != `{"n":`+strconv.Itoa(i)+`}` || v.Seq != uint64(i+1) {
				t.Fatalf("delivery %d is %s", i, v.Payload)
			}
		}
	})
}

func TestOfflineZeroAndPastAreDropped(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.device.Online(false)
		b.push(c, b.expiring(0, `{}`))
		b.push(c, func(r *http.Request) { r.Header.Set("apns-expiration", "300") }) // 1970, not five minutes
		for n := 1; n <= 2; n++ {
			if got := b.outcome(n); got != apnssim.Dropped {
				t.Errorf("push %d: %q", n, got)
			}
		}
		b.device.Online(true)
		none(t, b, "expiration 0 and 300")
	})
}

func TestOfflineStoresTheLatest(t *testing.T) {
	bubbled(t, apnssim.Config{NetDelay: 50 * time.Millisecond}, func(t *testing.T, b *bench, c *http.Client) {
		b.device.Online(false)
		b.push(c, b.expiring(30*time.Second, `{"n":1}`))
		time.Sleep(time.Second)
		b.push(c, b.expiring(30*time.Second, `{"n":2}`))
		time.Sleep(time.Second)
		if one, two := b.outcome(1), b.outcome(2); one != apnssim.Replaced || two != apnssim.Stored {
			t.Errorf("while offline: %q, %q", one, two)
		}
		if got := b.device.Status(); got.Stored != 1 || got.Online {
			t.Errorf("status %+v", got)
		}
		time.Sleep(20 * time.Second)
		b.device.Online(true)
		if v := next(t, b.device); string(v.Payload) != `{"n":2}` {
			t.Errorf("delivered %s", v.Payload)
		}
		none(t, b, "the replaced push")
	})
}

func TestOneStoredPerBundle(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		must(t, b.AddApp(team, "com.example.tablet"))
		second := b.device.RegisterVoIP("com.example.tablet")
		b.device.Online(false)
		b.push(c, b.expiring(time.Minute, `{"n":1}`))
		b.push(c, func(r *http.Request) {
			b.expiring(time.Minute, `{"n":2}`)(r)
			r.URL.Path = "/3/device/" + second
			r.Header.Set("apns-topic", "com.example.tablet.voip")
		})
		b.device.Online(true)
		got := map[string]bool{string(next(t, b.device).Payload): true, string(next(t, b.device).Payload): true}
		if !got[`{"n":1}`] || !got[`{"n":2}`] {
			t.Errorf("delivered %v", got)
		}
	})
}

func TestStoredPushExpires(t *testing.T) {
	for _, tc := range []struct {
		name           string
		expiry, absent time.Duration
		want           apnssim.Delivered
	}{
		{"in time", 30 * time.Second, 29 * time.Second, apnssim.Handed},
		{"at the second", 30 * time.Second, 30 * time.Second, apnssim.Lapsed},
		{"late", 30 * time.Second, time.Minute, apnssim.Lapsed},
		{"no header, 29 days", -1, 29 * 24 * time.Hour, apnssim.Handed},
		{"no header, 30 days", -1, 30 * 24 * time.Hour, apnssim.Lapsed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
				b.device.Online(false)
				b.push(c, b.expiring(tc.expiry, `{}`))
				c.CloseIdleConnections()
				time.Sleep(tc.absent)
				b.device.Online(true)
				if got := b.outcome(1); got != tc.want {
					t.Errorf("outcome %q, want %q", got, tc.want)
				}
				if tc.want != apnssim.Handed {
					none(t, b, "expired push")
				}
			})
		})
	}
}

func TestLeavingWhilePushIsOnItsWay(t *testing.T) {
	bubbled(t, apnssim.Config{NetDelay: time.Second}, func(t *testing.T, b *bench, c *http.Client) {
		b.push(c, b.expiring(0, `{"n":1}`))
		b.push(c, b.expiring(time.Minute, `{"n":2}`))
		time.Sleep(500 * time.Millisecond)
		b.device.Online(false)
		time.Sleep(time.Second)
		if one, two := b.outcome(1), b.outcome(2); one != apnssim.Dropped || two != apnssim.Stored {
			t.Errorf("outcomes %q, %q", one, two)
		}
		b.device.Online(true)
		if v := next(t, b.device); string(v.Payload) != `{"n":2}` {
			t.Errorf("delivered %s", v.Payload)
		}
	})
}

func TestReinstallDropsWhatIsUnderWay(t *testing.T) {
	bubbled(t, apnssim.Config{NetDelay: time.Second}, func(t *testing.T, b *bench, c *http.Client) {
		b.push(c, b.expiring(time.Minute, `{"n":1}`))
		b.device.Reinstall(bundle)
		time.Sleep(2 * time.Second)
		if got := b.outcome(1); got != apnssim.Dropped {
			t.Errorf("outcome %q", got)
		}
	})
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.device.Online(false)
		b.push(c, b.expiring(time.Minute, `{"n":1}`))
		synctest.Wait()
		b.device.Reinstall(bundle)
		b.device.Online(true)
		none(t, b, "the old installation's push")
		if got := b.outcome(1); got != apnssim.Dropped {
			t.Errorf("outcome %q", got)
		}
	})
}

func TestSlowReaderLosesTheOldest(t *testing.T) {
	bubbled(t, apnssim.Config{Limits: apnssim.Limits{PushBurst: 1000}}, func(t *testing.T, b *bench, c *http.Client) {
		for range 300 {
			b.push(c, nil)
		}
		synctest.Wait()
		if v := next(t, b.device); v.Seq != 45 {
			t.Errorf("first kept is %d, want 45", v.Seq)
		}
		list, _ := b.device.Received(290)
		if len(list) != 10 || list[0].Seq != 291 {
			t.Errorf("received after 290: %d", len(list))
		}
	})
}

func TestCloseWithPushesUnderWay(t *testing.T) {
	bubbled(t, apnssim.Config{NetDelay: time.Hour}, func(t *testing.T, b *bench, c *http.Client) {
		b.push(c, nil)
		must(t, b.Close())
		none(t, b, "after Close")
		if _, err := b.WaitRequests(t.Context(), apnssim.Filter{}, 2); !errors.Is(err, apnssim.ErrClosed) {
			t.Errorf("WaitRequests after Close: %v", err)
		}
		if _, err := send(c, b.request(t.Context(), b.now(), nil)); err == nil {
			t.Error("a closed simulator answered")
		}
	})
}
