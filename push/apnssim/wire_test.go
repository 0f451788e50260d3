package apnssim_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"wakebridge/push/apnssim"
)

// peer is a client that writes its own frames.
type peer struct {
	*http2.Framer
	t     *testing.T
	b     *bench
	conn  *tls.Conn
	block bytes.Buffer
	hpack *hpack.Encoder
}

func (b *bench) dialTLS(cfg *tls.Config) (*tls.Conn, error) {
	b.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.CAPEM())
	cfg.RootCAs = pool
	return tls.Dial("tcp", b.Addr(apnssim.Production).String(), cfg)
}

// newPeer connects, sends the preface with settings, and reads the server's.
func newPeer(t *testing.T, b *bench, settings ...http2.Setting) (*peer, map[http2.SettingID]uint32) {
	t.Helper()
	return newPeerWith(t, b, &tls.Config{}, settings...)
}

func newPeerWith(t *testing.T, b *bench, cfg *tls.Config, settings ...http2.Setting) (*peer, map[http2.SettingID]uint32) {
	t.Helper()
	cfg.NextProtos = []string{"h2"}
	conn, err := b.dialTLS(cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Logf("close: %v", err) // the server may be gone already
		}
	})
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	must(t, err)
	p := &peer{Framer: http2.NewFramer(conn, conn), t: t, b: b, conn: conn}
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.hpack = hpack.NewEncoder(&p.block)
	must(t, p.WriteSettings(settings...))
	return p, p.settings()
}

// settings reads up to the next SETTINGS that is no acknowledgement, and
// acknowledges it.
func (p *peer) settings() map[http2.SettingID]uint32 {
	p.t.Helper()
	for {
		f := await[*http2.SettingsFrame](p)
		if f.IsAck() {
			continue
		}
		m := make(map[http2.SettingID]uint32)
		must(p.t, f.ForeachSetting(func(s http2.Setting) error { m[s.ID] = s.Val; return nil }))
		must(p.t, p.WriteSettingsAck())
		return m
	}
}

// await reads frames until one of type F.
func await[F http2.Frame](p *peer) F {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("read: %v", err)
		}
		if want, ok := f.(F); ok {
			return want
		}
	}
}

// open sends the head of a correct VoIP push, end says whether that is all.
func (p *peer) open(id uint32, end bool) {
	p.t.Helper()
	p.head(id, end, []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: "https"},
		{Name: ":path", Value: "/3/device/" + p.b.voip},
		{Name: ":authority", Value: "api.push.apple.com"},
		{Name: "authorization", Value: p.b.bearer(p.b.now())},
		{Name: "apns-topic", Value: bundle + ".voip"},
		{Name: "apns-push-type", Value: "voip"},
	})
}

func (p *peer) head(id uint32, end bool, fields []hpack.HeaderField) {
	p.t.Helper()
	p.block.Reset()
	for _, f := range fields {
		must(p.t, p.hpack.WriteField(f))
	}
	must(p.t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: end}))
}

func (p *peer) push(id uint32) {
	p.t.Helper()
	p.open(id, false)
	must(p.t, p.WriteData(id, true, []byte(`{"aps":{}}`)))
}

func (p *peer) status(id uint32) string {
	p.t.Helper()
	f := await[*http2.MetaHeadersFrame](p)
	if f.StreamID != id {
		p.t.Fatalf("answer on stream %d, want %d", f.StreamID, id)
	}
	return f.PseudoValue("status")
}

// ended reads until the server closes and says whether it did so in peace.
func (p *peer) ended() {
	p.t.Helper()
	for {
		if _, err := p.ReadFrame(); err != nil {
			if !errors.Is(err, io.EOF) {
				p.t.Errorf("end of connection: %v", err)
			}
			return
		}
	}
}

func TestStreamLimitRisesWithTheFirstSuccess(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	p, settings := newPeer(t, b)
	if got := settings[http2.SettingMaxConcurrentStreams]; got != 1 {
		t.Fatalf("limit at start %d", got)
	}
	p.open(1, false)
	p.open(3, false)
	if f := await[*http2.RSTStreamFrame](p); f.StreamID != 3 || f.ErrCode != http2.ErrCodeRefusedStream {
		t.Fatalf("second stream: %v", f)
	}
	must(t, p.WriteData(3, true, []byte(`{}`))) // was under way when the refusal came: ignored
	must(t, p.WriteData(1, true, []byte(`[]`)))
	if got := p.status(1); got != "400" {
		t.Fatalf("spoiled push: %s", got)
	}
	p.open(5, false)
	p.open(7, false)
	if f := await[*http2.RSTStreamFrame](p); f.StreamID != 7 {
		t.Fatalf("a refused push raised the limit: %v", f)
	}
	must(t, p.WriteData(5, true, []byte(`{}`)))
	if got := p.settings()[http2.SettingMaxConcurrentStreams]; got != 1000 {
		t.Fatalf("limit with the first 200: %d", got)
	}
	if got := p.status(5); got != "200" {
		t.Fatalf("good push: %s", got)
	}
	for id := uint32(9); id < 9+2*100; id += 2 {
		p.open(id, false)
	}
	must(t, p.WriteData(9, true, []byte(`{}`)))
	if got := p.status(9); got != "200" {
		t.Fatalf("with 100 streams: %s", got)
	}
	if got := b.Stats(); got.Streams != 100 || got.Refused != 2 {
		t.Errorf("stats %+v", got)
	}
}

func TestStrictThrottle(t *testing.T) {
	b := newBench(t, apnssim.Config{StrictThrottle: true})
	p, _ := newPeer(t, b)
	p.push(1)
	if got := p.settings()[http2.SettingMaxConcurrentStreams]; got != 1000 {
		t.Fatalf("with a success: %d", got)
	}
	p.status(1)
	p.open(3, true) // no payload
	// Until we acknowledge, the old limit holds.
	if f := await[*http2.SettingsFrame](p); f.NumSettings() != 1 || f.Setting(0).Val != 1 {
		t.Fatalf("with a refusal: %v", f)
	}
	if got := p.status(3); got != "400" {
		t.Fatalf("bad push: %s", got)
	}
	p.open(5, false)
	p.open(7, false)
	must(t, p.WriteData(7, true, []byte(`{}`)))
	if got := p.status(7); got != "200" {
		t.Fatalf("before the acknowledgement: %s", got)
	}
}

func TestPing(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	p, _ := newPeer(t, b)
	must(t, p.WritePing(false, [8]byte{1, 2, 3}))
	if f := await[*http2.PingFrame](p); !f.IsAck() || f.Data != [8]byte{1, 2, 3} {
		t.Errorf("answer %v", f)
	}
	if b.Stats().Pings != 1 {
		t.Errorf("stats %+v", b.Stats())
	}
}

func TestGoAwayTellsWhy(t *testing.T) {
	for _, unprocessed := range []bool{false, true} {
		b := newBench(t, apnssim.Config{})
		_, err := b.AddFault(apnssim.Rule{
			Match:  apnssim.Match{Nth: 2},
			Action: apnssim.Action{Fault: apnssim.GoAway, Reason: "Shutdown", Unprocessed: unprocessed},
		})
		must(t, err)
		p, _ := newPeer(t, b)
		p.push(1)
		p.status(1)
		p.push(3)
		f := await[*http2.GoAwayFrame](p)
		if f.ErrCode != http2.ErrCodeNo || string(f.DebugData()) != `{"reason":"Shutdown"}` {
			t.Errorf("%v %q", f, f.DebugData())
		}
		if want := map[bool]uint32{false: 3, true: 1}[unprocessed]; f.LastStreamID != want {
			t.Errorf("last stream %d, want %d", f.LastStreamID, want)
		}
		next(t, b.device)
		if !unprocessed {
			if got := p.status(3); got != "200" {
				t.Errorf("the last request: %s", got)
			}
			next(t, b.device)
		}
		p.ended()
		if n := b.device.Status().Received; n != map[bool]uint64{false: 2, true: 1}[unprocessed] {
			t.Errorf("%d deliveries", n)
		}
	}
}

func TestResponseWaitsForTheWindow(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	p, _ := newPeer(t, b, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5})
	p.open(1, true)
	if got := p.status(1); got != "400" {
		t.Fatalf("status %s", got)
	}
	var body []byte
	f := await[*http2.DataFrame](p)
	body = append(body, f.Data()...)
	if len(body) != 5 || f.StreamEnded() {
		t.Fatalf("first part %q", body)
	}
	must(t, p.WriteWindowUpdate(1, 5))
	body = append(body, await[*http2.DataFrame](p).Data()...)
	must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100}))
	f = await[*http2.DataFrame](p)
	body = append(body, f.Data()...)
	if string(body) != `{"reason":"PayloadEmpty"}` || !f.StreamEnded() {
		t.Errorf("body %q, ended %v", body, f.StreamEnded())
	}
}

func TestTrailersEndARequest(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	p, _ := newPeer(t, b)
	p.open(1, false)
	must(t, p.WriteData(1, false, []byte(`{}`)))
	p.head(1, true, []hpack.HeaderField{{Name: "x-trailer", Value: "1"}})
	if got := p.status(1); got != "200" {
		t.Errorf("status %s", got)
	}
}

func TestClientResetFreesTheStream(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	p, _ := newPeer(t, b)
	p.open(1, false)
	must(t, p.WriteRSTStream(1, http2.ErrCodeCancel))
	p.push(3)
	if got := p.status(3); got != "200" {
		t.Errorf("status %s", got)
	}
}

func TestBrokenProtocol(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*peer)
		code http2.ErrCode
	}{
		"even stream":      {func(p *peer) { p.open(2, false) }, http2.ErrCodeProtocol},
		"data before head": {func(p *peer) { must(p.t, p.WriteData(1, true, nil)) }, http2.ErrCodeProtocol},
		"window overflow": {func(p *peer) {
			must(p.t, p.WriteWindowUpdate(0, 1<<31-1))
		}, http2.ErrCodeFlowControl},
		"window of an idle stream": {func(p *peer) { must(p.t, p.WriteWindowUpdate(9, 1)) }, http2.ErrCodeProtocol},
		"frame too large": {func(p *peer) {
			must(p.t, p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 20000)))
		}, http2.ErrCodeFrameSize},
		"bad header block": {func(p *peer) {
			must(p.t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true}))
		}, http2.ErrCodeCompression},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := newPeer(t, newBench(t, apnssim.Config{}))
			tc.do(p)
			if f := await[*http2.GoAwayFrame](p); f.ErrCode != tc.code {
				t.Errorf("GOAWAY %v, want %v", f.ErrCode, tc.code)
			}
		})
	}
}

func TestBrokenRequestResetsItsStreamOnly(t *testing.T) {
	for name, fields := range map[string][]hpack.HeaderField{
		"no path":          {{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}},
		"no method":        {{Name: ":path", Value: "/"}, {Name: ":scheme", Value: "https"}},
		"capital letters":  {{Name: ":method", Value: "POST"}, {Name: ":path", Value: "/"}, {Name: ":scheme", Value: "https"}, {Name: "Apns-Id", Value: "x"}},
		"too much of them": {{Name: ":method", Value: "POST"}, {Name: ":path", Value: "/"}, {Name: ":scheme", Value: "https"}, {Name: "x", Value: strings.Repeat("y", 5000)}, {Name: "z", Value: strings.Repeat("y", 5000)}},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := newPeer(t, newBench(t, apnssim.Config{}))
			p.head(1, true, fields)
			if f := await[*http2.RSTStreamFrame](p); f.StreamID != 1 || f.ErrCode != http2.ErrCodeProtocol {
				t.Errorf("%v", f)
			}
			p.push(3)
			if got := p.status(3); got != "200" {
				t.Errorf("the next request: %s", got)
			}
		})
	}
}

func TestTLSMustBeModernAndSpeakH2(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	// Go's server lets a client that offers only http/1.1 in without ALPN.
	conn, err := b.dialTLS(&tls.Config{NextProtos: []string{"http/1.1"}})
	must(t, err)
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("with http/1.1 the server sent %d bytes", n)
	}
	must(t, conn.Close())
	//nolint:gosec // an old version is the point
	if _, err := b.dialTLS(&tls.Config{NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	conn, err = b.dialTLS(&tls.Config{NextProtos: []string{"h2"}, MaxVersion: tls.VersionTLS12})
	must(t, err)
	if got := conn.ConnectionState(); got.Version != tls.VersionTLS12 || got.NegotiatedProtocol != "h2" {
		t.Errorf("negotiated %+v", got)
	}
	must(t, conn.Close())
	conn, err = b.dialTLS(&tls.Config{})
	must(t, err)
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("without ALPN the server sent %d bytes", n)
	}
	must(t, conn.Close())
	conn, err = b.dialTLS(&tls.Config{NextProtos: []string{"h2"}})
	must(t, err)
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	must(t, err)
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("without the preface the server sent %d bytes", n)
	}
	must(t, conn.Close())
}

// TestManyAtOnce sends from many goroutines over one client and closes the
// simulator afterwards; with -race it looks for shared state.
func TestManyAtOnce(t *testing.T) {
	b := newBench(t, apnssim.Config{Limits: apnssim.Limits{PushBurst: 1000}})
	c := b.client(apnssim.Production)
	b.push(c, nil) // the stream limit is 1000 now
	auth := b.bearer(b.now())
	var senders sync.WaitGroup
	for range 20 {
		senders.Go(func() {
			for range 10 {
				r := b.request(context.Background(), b.now(), nil)
				r.Header.Set("authorization", auth)
				if res, err := send(c, r); err != nil || res.status != 200 {
					t.Errorf("%+v, %v", res, err)
				}
			}
		})
	}
	senders.Wait()
	found, err := b.WaitRequests(t.Context(), apnssim.Filter{Status: 200, Token: b.voip}, 201)
	if err != nil || len(found) != 201 {
		t.Errorf("journal has %d, %v", len(found), err)
	}
	for i, e := range found {
		if e.Seq != uint64(i+1) || e.Provider == nil || e.Provider.TeamID != team || e.Get("apns-topic") != bundle+".voip" {
			t.Fatalf("entry %d: %+v", i, e)
		}
	}
}
