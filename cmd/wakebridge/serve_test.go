package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// log is what a server in this process wrote.
type log struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed at the next write
}

func newLog() *log { return &log{grown: make(chan struct{})} }

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.grown)
	l.grown = make(chan struct{})
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// says waits until the log holds a text.
func (l *log) says(t *testing.T, text string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		l.mu.Lock()
		grown, found := l.grown, strings.Contains(l.text.String(), text)
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-grown:
		case <-late:
			t.Fatalf("the log does not say %q:\n%s", text, l)
		}
	}
}

// addr is where the server listens, as its log tells.
func (l *log) addr(t *testing.T, transport string) string {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var e struct{ Msg, Transport, Address string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if e.Msg == "listening" && e.Transport == transport {
			return e.Address
		}
	}
	t.Fatalf("nobody listens on %s:\n%s", transport, l)
	return ""
}

// served is a server that runs in this process.
type served struct {
	*log
	code chan int
	stop context.CancelFunc // ends the context of run
}

// serving runs "serve --config" on a configuration and waits until it is ready.
func serving(t *testing.T, config string) *served {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &served{log: newLog(), code: make(chan int, 1), stop: cancel}
	go func() { s.code <- run(ctx, []string{"serve", "--config", config}, io.Discard, s) }() // awaited by ends
	t.Cleanup(cancel)
	s.says(t, "wakebridge is ready")
	return s
}

// ends waits for the server's end.
func (s *served) ends(t *testing.T, want int) {
	t.Helper()
	select {
	case code := <-s.code:
		if code != want {
			t.Errorf("exit %d, want %d:\n%s", code, want, s)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the server does not end:\n%s", s)
	}
	if !strings.Contains(s.String(), "wakebridge has ended") {
		t.Errorf("it ended without a word:\n%s", s)
	}
}

// configFile writes a configuration with a trunk at pbx, which may call itself.
func configFile(t *testing.T, pbx string) string {
	t.Helper()
	host, _, err := net.SplitHostPort(pbx)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	text := fmt.Sprintf(`node: { id: pb1, data_dir: data }
log: { format: json }
listen: [{ transport: udp, bind: "127.0.0.1:0" }, { transport: tcp, bind: "127.0.0.1:0" }]
media: { bind: ["127.0.0.1"], rtp_start: 30000, rtp_end: 30999 }
trunks: [{ name: pbx, kind: peer, match: ["%s"], contact: "sip:%s", qualify: 0s }]
routes: [{ name: back, from: pbx, match: "^5", to: trunk, trunk: pbx }]
calls: { drain_timeout: 1m }
http: { bind: "127.0.0.1:0" }
`, host, pbx)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func signalSelf(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func TestServeUntilSIGTERM(t *testing.T) {
	config := configFile(t, "127.0.0.2:5060")
	s := serving(t, config)
	for _, transport := range []string{"udp", "tcp", "http"} {
		if a := s.addr(t, transport); strings.HasSuffix(a, ":0") {
			t.Errorf("the log does not tell the port of %s: %s", transport, a)
		}
	}
	signalSelf(t, syscall.SIGHUP) // must not end it
	s.says(t, "SIGHUP")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr(t, "http")+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatalf("after SIGHUP: %v", err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("after SIGHUP: %s", res.Status)
	}
	if info, err := os.Stat(filepath.Join(filepath.Dir(config), "data")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("node.data_dir is not beside the file, or open to others: %v %v", info, err)
	}
	signalSelf(t, syscall.SIGTERM)
	s.ends(t, exitOK)
	again := serving(t, config) // nothing is locked or half written
	signalSelf(t, syscall.SIGINT)
	again.ends(t, exitOK)
}

func TestServeEndsWithItsContext(t *testing.T) {
	s := serving(t, configFile(t, "127.0.0.2:5060"))
	s.stop()
	s.ends(t, exitOK)
}

// pbx speaks SIP by hand at an address of its own.
type pbx struct {
	t    *testing.T
	conn net.PacketConn
	to   net.Addr
	got  []string // and not asked for yet
	leg  string   // the INVITE that the server sent to it
}

// read waits for a message that begins with one of the texts.
func (p *pbx) read(texts ...string) string {
	p.t.Helper()
	begins := func(m string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(m, text) })
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	buf := make([]byte, 65536)
	for {
		if i := slices.IndexFunc(p.got, begins); i >= 0 {
			m := p.got[i]
			p.got = slices.Delete(p.got, i, i+1)
			return m
		}
		n, _, err := p.conn.ReadFrom(buf)
		if err != nil {
			p.t.Fatalf("no %q came: %v; but\n%s", texts, err, strings.Join(p.got, "\n"))
		}
		p.got = append(p.got, string(buf[:n]))
	}
}

func (p *pbx) send(lines ...string) {
	p.t.Helper()
	if _, err := p.conn.WriteTo([]byte(strings.Join(lines, "\r\n")), p.to); err != nil {
		p.t.Fatal(err)
	}
}

// reply answers a request with a status line.
func (p *pbx) reply(request, status string) {
	p.t.Helper()
	lines := []string{"SIP/2.0 " + status}
	for line := range strings.SplitSeq(request, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			lines = append(lines, line)
		case "To":
			lines = append(lines, line+";tag=callee")
		}
	}
	p.send(append(lines, "Content-Length: 0", "", "")...)
}

// ringing is a server with a call that rings: its trunk calls itself through it.
func ringing(t *testing.T) (*served, *pbx) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := serving(t, configFile(t, conn.LocalAddr().String()))
	to, err := net.ResolveUDPAddr("udp4", s.addr(t, "udp"))
	if err != nil {
		t.Fatal(err)
	}
	p := &pbx{t: t, conn: conn, to: to}
	sdp := "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
	p.send("INVITE sip:500@127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP "+conn.LocalAddr().String()+";branch=z9hG4bKa;rport", "Max-Forwards: 70",
		"From: <sip:100@127.0.0.2>;tag=caller", "To: <sip:500@127.0.0.1>", "Call-ID: one", "CSeq: 1 INVITE", "Contact: <sip:"+conn.LocalAddr().String()+">",
		"Content-Type: application/sdp", fmt.Sprintf("Content-Length: %d", len(sdp)), "", sdp)
	p.leg = p.read("INVITE ")
	p.reply(p.leg, "180 Ringing")
	p.read("SIP/2.0 180")
	return s, p
}

func TestServeDrains(t *testing.T) {
	s, p := ringing(t)
	signalSelf(t, syscall.SIGTERM)
	s.says(t, `"draining: no new calls, waiting for those in progress","calls":1`)
	p.send("OPTIONS sip:127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP "+p.conn.LocalAddr().String()+";branch=z9hG4bKo;rport", "Max-Forwards: 70",
		"From: <sip:100@127.0.0.2>;tag=o", "To: <sip:127.0.0.1>", "Call-ID: o", "CSeq: 1 OPTIONS", "Content-Length: 0", "", "")
	p.read("SIP/2.0 503")
	p.send("CANCEL sip:500@127.0.0.1 SIP/2.0", "Via: SIP/2.0/UDP "+p.conn.LocalAddr().String()+";branch=z9hG4bKa;rport", "Max-Forwards: 70",
		"From: <sip:100@127.0.0.2>;tag=caller", "To: <sip:500@127.0.0.1>", "Call-ID: one", "CSeq: 1 CANCEL", "Content-Length: 0", "", "")
	p.reply(p.read("CANCEL "), "200 OK")
	p.reply(p.leg, "487 Request Terminated")
	p.read("SIP/2.0 487") // the call goes its way while the server drains, and then it ends
	s.ends(t, exitOK)
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	s, p := ringing(t)
	signalSelf(t, syscall.SIGTERM)
	s.says(t, "draining")
	signalSelf(t, syscall.SIGHUP) // still harmless
	s.says(t, "SIGHUP")
	begin := time.Now()
	signalSelf(t, syscall.SIGINT)
	s.says(t, "second signal")
	s.ends(t, exitOK)
	if took := time.Since(begin); took > 5*time.Second { // the drain would have lasted a minute
		t.Errorf("it took %s", took)
	}
	p.read("SIP/2.0 480", "SIP/2.0 503", "SIP/2.0 500", "SIP/2.0 487") // the caller is told
}

func TestServeSaysWhatIsInTheWay(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	text, err := os.ReadFile(configFile(t, "127.0.0.2:5060"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, replace, by, want string }{
		{"a SIP port", `tcp, bind: "127.0.0.1:0"`, fmt.Sprintf(`tcp, bind: %q`, ln.Addr()), "listen[1] (tcp " + ln.Addr().String() + "): another program uses this port"},
		{"the HTTP port", `http: { bind: "127.0.0.1:0" }`, fmt.Sprintf("http: { bind: %q }", ln.Addr()), "http.bind " + ln.Addr().String() + ": another program uses this port"},
		{"the data folder", "data_dir: data", "data_dir: wakebridge.yaml", "node.data_dir"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wakebridge.yaml")
			changed := strings.Replace(string(text), tt.replace, tt.by, 1)
			if changed == string(text) {
				t.Fatal("nothing was changed")
			}
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errs bytes.Buffer
			if code := run(t.Context(), []string{"serve", "-c", path}, &out, &errs); code != exitFailed || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("exit %d, want %q in:\n%s", code, tt.want, &errs)
			}
		})
	}
}

// The development set-up has fixed ports. Here they are in use, so that it shows
// what a person gets to read, fails, and tidies up.
func TestServeWithoutAFile(t *testing.T) {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:5060")
	switch {
	case err == nil:
		defer conn.Close()
	case !errors.Is(err, syscall.EADDRINUSE): // somebody else's is as good
		t.Fatal(err)
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"serve"}, &out, &errs); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if !strings.Contains(errs.String(), "another program uses this port") {
		t.Errorf("the error does not help: %s", &errs)
	}
	for _, want := range []string{"sip:alice@", "password ", "number 201", "udp 127.0.0.1:5060", "127.0.0.2", "http://127.0.0.1:8080/readyz"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not tell %q:\n%s", want, &out)
		}
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestVersionAsJSON(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"version", "--json"}, &out, &errs); code != exitOK {
		t.Errorf("exit %d: %s", code, &errs)
	}
	var doc struct{ Version, Go string }
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.Version != version || !strings.HasPrefix(doc.Go, "go") {
		t.Errorf("%v %+v", err, doc)
	}
}
