package apnssim_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"wakebridge/push/apnssim"
)

func (b *bench) fault(m apnssim.Match, a apnssim.Action) int {
	b.t.Helper()
	id, err := b.AddFault(apnssim.Rule{Match: m, Action: a})
	must(b.t, err)
	return id
}

// attempt sends a push that must end within d and returns its error.
func (b *bench) attempt(c *http.Client, d time.Duration) (result, error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), d)
	defer cancel()
	return send(c, b.request(ctx, b.now(), nil))
}

func TestFaultRespond(t *testing.T) {
	clock := newClock()
	b := newBench(t, apnssim.Config{Now: clock.now})
	c := b.client(apnssim.Production)
	b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 503, Reason: "Shutdown"})
	b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 410, Reason: "Unregistered"})
	b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Respond, Status: 410, Reason: "ExpiredToken", Timestamp: time.UnixMilli(77)})
	// A request that is refused anyway keeps its answer and uses nothing up.
	if res := b.push(c, func(r *http.Request) { r.Header.Del("apns-topic") }); res.Reason != "MissingTopic" {
		t.Errorf("refused request: %+v", res)
	}
	for _, want := range []result{
		{status: 503, Reason: "Shutdown"},
		{status: 410, Reason: "Unregistered", Timestamp: clock.now().UnixMilli()},
		{status: 410, Reason: "ExpiredToken", Timestamp: 77},
		{status: 200},
	} {
		res := b.push(c, nil)
		if res.status != want.status || res.Reason != want.Reason || res.Timestamp != want.Timestamp {
			t.Errorf("answer %+v, want %+v", res, want)
		}
	}
	next(t, b.device)
	if n := b.device.Status().Received; n != 1 {
		t.Errorf("%d deliveries", n)
	}
	for i, f := range b.Faults() {
		if f.Hits != 1 || f.ID != i+1 {
			t.Errorf("fault %d: %+v", i, f)
		}
	}
}

func TestFaultMatching(t *testing.T) {
	teapot := apnssim.Action{Fault: apnssim.Respond, Status: 418, Reason: "Matched"}
	for _, tc := range []struct {
		name  string
		match func(*bench) apnssim.Match
		voip  int // status of a VoIP push
		alert int // and of an alert push
	}{
		{"everything", func(*bench) apnssim.Match { return apnssim.Match{} }, 418, 418},
		{"token", func(b *bench) apnssim.Match { return apnssim.Match{Token: b.voip} }, 418, 200},
		{"topic", func(*bench) apnssim.Match { return apnssim.Match{Topic: bundle} }, 200, 418},
		{"environment", func(*bench) apnssim.Match { return apnssim.Match{Environment: apnssim.Sandbox} }, 200, 200},
		{"this environment", func(*bench) apnssim.Match { return apnssim.Match{Environment: apnssim.Production} }, 418, 418},
		{"second", func(*bench) apnssim.Match { return apnssim.Match{Nth: 2} }, 200, 418},
		{"first only", func(*bench) apnssim.Match { return apnssim.Match{Times: 1} }, 418, 200},
		{"surely", func(*bench) apnssim.Match { return apnssim.Match{Probability: 1} }, 418, 418},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, apnssim.Config{})
			c := b.client(apnssim.Production)
			id := b.fault(tc.match(b), teapot)
			if res := b.push(c, nil); res.status != tc.voip {
				t.Errorf("voip: %+v, want %d", res, tc.voip)
			}
			alert := func(r *http.Request) { ordinary("alert")(b, r) }
			if res := b.push(c, alert); res.status != tc.alert {
				t.Errorf("alert: %+v, want %d", res, tc.alert)
			}
			must(t, b.RemoveFault(id))
			if err := b.RemoveFault(id); !errors.Is(err, apnssim.ErrUnknownFault) {
				t.Errorf("removed twice: %v", err)
			}
			if res := b.push(c, nil); res.status != 200 {
				t.Errorf("without the rule: %+v", res)
			}
		})
	}
}

func TestFaultProbabilityIsSeeded(t *testing.T) {
	run := func() (pattern string) {
		b := newBench(t, apnssim.Config{Seed: 7})
		c := b.client(apnssim.Production)
		b.fault(apnssim.Match{Probability: 0.5}, apnssim.Action{Fault: apnssim.Respond, Status: 500, Reason: "InternalServerError"})
		for range 40 {
			pattern += string('0' + byte(b.push(c, nil).status/100))
		}
		return pattern
	}
	one, two := run(), run()
	hits := 0
	for _, r := range one {
		if r == '5' {
			hits++
		}
	}
	if one != two || hits < 10 || hits > 30 {
		t.Errorf("patterns %s and %s", one, two)
	}
}

func TestFaultDelay(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Delay, Latency: 2 * time.Second})
		b.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Delay, Latency: time.Second, Jitter: time.Second})
		b.fault(apnssim.Match{Nth: 2}, apnssim.Action{Fault: apnssim.Respond, Status: 500, Reason: "InternalServerError"})
		start := time.Now()
		if res, err := b.attempt(c, time.Minute); err != nil || res.status != 200 {
			t.Fatalf("%+v, %v", res, err)
		}
		if took := time.Since(start); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("took %v", took)
		}
		if res, err := b.attempt(c, time.Minute); err != nil || res.status != 500 {
			t.Errorf("delay before the other fault: %+v, %v", res, err)
		}
	})
}

// A push that Apple is slow to answer goes out although the sender gave up.
func TestFaultDelayOutlastsTheSender(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Delay, Latency: 5 * time.Second})
		if _, err := b.attempt(c, 1500*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("err %v", err)
		}
		next(t, b.device)
		e := b.Requests(apnssim.Filter{})[0]
		if e.Fault != apnssim.Delay || e.Verdict.Status != 200 || !e.AnsweredAt.IsZero() || e.Delivery != apnssim.Handed {
			t.Errorf("journal %+v", e)
		}
	})
}

func TestFaultHang(t *testing.T) {
	for _, deliver := range []bool{false, true} {
		bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
			b.push(c, nil)
			next(t, b.device)
			b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Hang, Deliver: deliver})
			if _, err := b.attempt(c, time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("err %v", err)
			}
			if deliver {
				next(t, b.device)
			} else {
				none(t, b, "hanging push")
			}
			if res := b.push(c, nil); res.status != 200 {
				t.Errorf("the connection is of no use after: %+v", res)
			}
			if n := b.Stats().Connections; n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestFaultReset(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	c := b.client(apnssim.Production)
	b.push(c, nil)
	b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Reset})
	b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Reset, Code: http2.ErrCodeEnhanceYourCalm})
	for _, code := range []http2.ErrCode{http2.ErrCodeInternal, http2.ErrCodeEnhanceYourCalm} {
		_, err := b.attempt(c, 10*time.Second)
		var reset http2.StreamError
		if !errors.As(err, &reset) || reset.Code != code {
			t.Errorf("err %v, want %v", err, code)
		}
	}
	if res := b.push(c, nil); res.status != 200 || b.Stats().Connections != 1 {
		t.Errorf("after: %+v, %+v", res, b.Stats())
	}
}

func TestFaultCut(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	c := b.client(apnssim.Production)
	b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Cut, Deliver: true})
	if res, err := b.attempt(c, 10*time.Second); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%+v, %v", res, err)
	}
	next(t, b.device)
	if res := b.push(c, nil); res.status != 200 || b.Stats().Connections != 2 {
		t.Errorf("on a new connection: %+v, %+v", res, b.Stats())
	}
	if e := b.Requests(apnssim.Filter{})[0]; e.Verdict.Status != 200 || !e.AnsweredAt.IsZero() || e.Fault != apnssim.Cut {
		t.Errorf("journal %+v", e)
	}
}

// A dead path: the client's own pings are what finds it.
func TestFaultBlackhole(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		transport := c.Transport.(*http2.Transport)
		transport.ReadIdleTimeout, transport.PingTimeout = 5*time.Second, 3*time.Second
		b.push(c, nil)
		next(t, b.device)
		b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Blackhole})
		start := time.Now()
		_, err := b.attempt(c, time.Minute)
		if took := time.Since(start); err == nil || took != 8*time.Second {
			t.Errorf("failed after %v: %v", took, err)
		}
		none(t, b, "swallowed push")
		if res := b.push(c, nil); res.status != 200 || b.Stats().Connections != 2 {
			t.Errorf("on a new connection: %+v, %+v", res, b.Stats())
		}
		synctest.Wait()
		if n := b.Stats().Open; n != 1 {
			t.Errorf("%d connections open", n)
		}
	})
}

func TestFaultGoAwayIsRepeatedByTheClient(t *testing.T) {
	b := newBench(t, apnssim.Config{Limits: apnssim.Limits{PushBurst: 1000}})
	c := b.client(apnssim.Production)
	b.fault(apnssim.Match{Nth: 5}, apnssim.Action{Fault: apnssim.GoAway, Reason: "IdleTimeout", Unprocessed: true})
	for i := range 20 {
		if res := b.push(c, nil); res.status != 200 {
			t.Fatalf("push %d: %+v", i, res)
		}
	}
	for range 20 {
		next(t, b.device)
	}
	if got := b.Stats().Connections; got < 4 {
		t.Errorf("%d connections", got)
	}
	if n := b.device.Status().Received; n != 20 {
		t.Errorf("%d deliveries", n)
	}
}

func TestGoAwayEndsAHangingConnection(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.push(c, nil)
		b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Hang})
		b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.GoAway, Reason: "Shutdown"})
		start := time.Now()
		failed := make(chan error, 1)
		go func() {
			_, err := b.attempt(c, time.Minute)
			failed <- err
		}()
		synctest.Wait() // it hangs
		if res := b.push(c, nil); res.status != 200 {
			t.Errorf("the request that met GOAWAY: %+v", res)
		}
		if err := <-failed; err == nil || time.Since(start) != 5*time.Second {
			t.Errorf("hanging request ended after %v: %v", time.Since(start), err)
		}
	})
}

func TestFaultRefuseTLS(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	b.fault(apnssim.Match{Times: 2}, apnssim.Action{Fault: apnssim.RefuseTLS})
	c := b.client(apnssim.Production)
	for i := range 2 {
		if _, err := b.attempt(c, 10*time.Second); err == nil {
			t.Errorf("handshake %d succeeded", i)
		}
	}
	if res := b.push(c, nil); res.status != 200 {
		t.Errorf("third: %+v", res)
	}
	b.fault(apnssim.Match{Environment: apnssim.Sandbox}, apnssim.Action{Fault: apnssim.RefuseTLS})
	if res := b.push(b.client(apnssim.Production), nil); res.status != 200 {
		t.Errorf("the other environment: %+v", res)
	}
	if _, err := b.attempt(b.client(apnssim.Sandbox), 10*time.Second); err == nil {
		t.Error("sandbox handshake succeeded")
	}
	b.ClearFaults()
	if len(b.Faults()) != 0 {
		t.Error("rules are left")
	}
}

func TestBadRules(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	for name, r := range map[string]apnssim.Rule{
		"nothing":             {},
		"unknown":             {Action: apnssim.Action{Fault: "explode"}},
		"respond 200":         {Action: apnssim.Action{Fault: apnssim.Respond, Status: 200, Reason: "x"}},
		"respond, no reason":  {Action: apnssim.Action{Fault: apnssim.Respond, Status: 500}},
		"delay of nothing":    {Action: apnssim.Action{Fault: apnssim.Delay}},
		"negative delay":      {Action: apnssim.Action{Fault: apnssim.Delay, Latency: -1}},
		"probability":         {Match: apnssim.Match{Probability: 1.5}, Action: apnssim.Action{Fault: apnssim.Hang}},
		"negative nth":        {Match: apnssim.Match{Nth: -1}, Action: apnssim.Action{Fault: apnssim.Hang}},
		"environment":         {Match: apnssim.Match{Environment: "moon"}, Action: apnssim.Action{Fault: apnssim.Hang}},
		"handshake by token":  {Match: apnssim.Match{Token: "00"}, Action: apnssim.Action{Fault: apnssim.RefuseTLS}},
		"handshake by topic":  {Match: apnssim.Match{Topic: "x"}, Action: apnssim.Action{Fault: apnssim.RefuseTLS}},
		"negative repetition": {Match: apnssim.Match{Times: -1}, Action: apnssim.Action{Fault: apnssim.Hang}},
	} {
		if _, err := b.AddFault(r); !errors.Is(err, apnssim.ErrBadRule) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A GOAWAY that names an earlier stream tells the client that the pushes of later ones
// were not processed: it repeats them elsewhere, so they must not be delivered here.
func TestGoAwayDeniesWhatWaits(t *testing.T) {
	bubbled(t, apnssim.Config{Limits: apnssim.Limits{StreamsBefore: 10}}, func(t *testing.T, b *bench, c *http.Client) {
		b.push(c, nil)
		next(t, b.device)
		b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Delay, Latency: time.Second})
		b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.GoAway, Reason: "Shutdown", Unprocessed: true})
		b.fault(apnssim.Match{Nth: 2, Times: 1}, apnssim.Action{Fault: apnssim.Delay, Latency: 3 * time.Second})
		answers := make(chan int, 2)
		for range cap(answers) { // the GOAWAY comes after a second, when the other one waits
			go func() { answers <- b.push(c, nil).status }()
			synctest.Wait()
		}
		for range cap(answers) {
			if status := <-answers; status != 200 {
				t.Errorf("status %d", status)
			}
		}
		time.Sleep(time.Minute)
		if n := b.device.Status().Received; n != 3 {
			t.Errorf("%d deliveries of 3 pushes", n)
		}
	})
}
