package apnssim_test

import (
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"wakebridge/push/apnssim"
)

// idleListener is one that nobody serves.
func (b *bench) idleListener() net.Listener {
	ln := listen(b.t)
	b.t.Cleanup(func() { must(b.t, ln.Close()) })
	return ln
}

func TestPingFlood(t *testing.T) {
	b := newBench(t, apnssim.Config{Limits: apnssim.Limits{PingBurst: 3}})
	p, _ := newPeer(t, b)
	for range 3 {
		must(t, p.WritePing(false, [8]byte{1}))
		if !await[*http2.PingFrame](p).IsAck() {
			t.Fatal("no answer")
		}
	}
	must(t, p.WritePing(false, [8]byte{2}))
	if f := await[*http2.GoAwayFrame](p); f.ErrCode != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("GOAWAY %v", f.ErrCode)
	}
	p.ended()
}

func TestOnePingPerSecondIsFine(t *testing.T) {
	bubbled(t, apnssim.Config{Limits: apnssim.Limits{PingBurst: 1}}, func(t *testing.T, b *bench, c *http.Client) {
		c.Transport.(*http2.Transport).ReadIdleTimeout = time.Second
		b.push(c, nil)
		time.Sleep(10500 * time.Millisecond)
		b.push(c, nil)
		if s := b.Stats(); s.Connections != 1 || s.Pings != 10 {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestIdleClose(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.IdleClose, Latency: time.Minute})
		b.fault(apnssim.Match{Nth: 2, Times: 1}, apnssim.Action{Fault: apnssim.Delay, Latency: 3 * time.Minute})
		b.push(c, nil)
		time.Sleep(50 * time.Second)
		ctx := t.Context()
		if res, err := send(c, b.request(ctx, b.now(), nil)); err != nil || res.status != 200 { // takes three minutes
			t.Fatalf("a busy connection is not idle: %+v, %v", res, err)
		}
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if s := b.Stats(); s.Open != 1 || s.Connections != 1 {
			t.Errorf("before the time: %+v", s)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if s := b.Stats(); s.Open != 0 {
			t.Errorf("after the time: %+v", s)
		}
		b.push(c, nil)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := b.Stats(); s.Open != 1 || s.Connections != 2 {
			t.Errorf("the rule was for one connection: %+v", s)
		}
	})
}

func TestIdleCloseSaysWhy(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	b.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.IdleClose, Latency: 10 * time.Millisecond})
	p, _ := newPeer(t, b)
	if f := await[*http2.GoAwayFrame](p); f.ErrCode != http2.ErrCodeNo || string(f.DebugData()) != `{"reason":"IdleTimeout"}` {
		t.Errorf("GOAWAY %v %s", f.ErrCode, f.DebugData())
	}
	p.ended()
}

func TestSlowHandshake(t *testing.T) {
	bubbled(t, apnssim.Config{}, func(t *testing.T, b *bench, c *http.Client) {
		b.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.SlowHandshake, Latency: 3 * time.Second})
		for _, want := range []time.Duration{3 * time.Second, 0} {
			start := time.Now()
			b.push(c, nil)
			if d := time.Since(start); d != want {
				t.Errorf("took %v, want %v", d, want)
			}
			c.CloseIdleConnections()
		}
	})
}

func TestCloseDuringASlowHandshake(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	b.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.SlowHandshake, Latency: time.Hour})
	conn, err := net.Dial("tcp", b.Addr(apnssim.Production).String())
	must(t, err)
	defer conn.Close()
	must(t, b.Close())
}

func TestGoAwayByNumbers(t *testing.T) {
	b := newBench(t, apnssim.Config{Limits: apnssim.Limits{StreamsBefore: 10}})
	b.fault(apnssim.Match{Nth: 3}, apnssim.Action{
		Fault: apnssim.GoAway, Reason: "Overload", LastStream: 1, Code: http2.ErrCodeInternal, Grace: time.Hour,
	})
	p, _ := newPeer(t, b)
	p.open(1, false)
	p.push(3)
	p.push(5)
	p.push(7)
	for _, id := range []uint32{3, 5} {
		if status := p.status(id); status != "200" {
			t.Errorf("stream %d: %s", id, status)
		}
	}
	if f := await[*http2.GoAwayFrame](p); f.LastStreamID != 1 || f.ErrCode != http2.ErrCodeInternal || string(f.DebugData()) != `{"reason":"Overload"}` {
		t.Errorf("GOAWAY %d %v %s", f.LastStreamID, f.ErrCode, f.DebugData())
	}
	must(t, p.WriteData(1, true, []byte(`{"aps":{}}`)))
	if status := p.status(1); status != "200" {
		t.Errorf("stream 1: %s", status)
	}
	p.ended()
}

func TestStatsTellAnswersAndTokens(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	c := b.client(apnssim.Production)
	at := time.Now()
	for range 2 {
		b.push(c, func(r *http.Request) { r.Header.Set("authorization", b.bearer(at)) })
	}
	b.push(c, func(r *http.Request) { r.Header.Set("authorization", b.bearer(at.Add(-time.Minute))) })
	b.push(c, func(r *http.Request) {
		r.Header.Set("authorization", b.bearer(at))
		r.Header.Del("apns-topic")
	})
	s := b.Stats()
	if s.ProviderTokens != 2 || s.Answers["200"] != 3 || s.Answers["MissingTopic"] != 1 || len(s.Answers) != 2 {
		t.Errorf("stats %+v", s)
	}
}
