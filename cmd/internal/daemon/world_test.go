package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/config"
	"wakebridge/sipua"
)

// development is a set-up on free ports.
func development(t *testing.T) *Development {
	t.Helper()
	dev, err := NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	free := netip.MustParseAddrPort("127.0.0.1:0")
	for i := range dev.Config.Listen {
		dev.Config.Listen[i].Bind = free
	}
	dev.Config.HTTP.Bind = free
	dev.Config.Media.RTPStart, dev.Config.Media.RTPEnd = 0, 0 // the system's choice
	return dev
}

// quiet are options of a server that logs nothing.
func quiet() Options { return Options{Log: slog.New(slog.DiscardHandler), Version: "test"} }

// start runs a server until the end of the test.
func start(t *testing.T, change func(*config.Config)) *Daemon {
	t.Helper()
	dev := development(t)
	if change != nil {
		change(dev.Config)
	}
	d, err := New(t.Context(), dev.Config, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(d) })
	return d
}

func stop(d *Daemon) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond) // nobody waits for what a test left ringing
	defer cancel()
	d.Stop(ctx)
}

// get fetches a page.
func get(t *testing.T, d *Daemon, path string, fields ...string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.HTTPAddr().String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// pbx speaks SIP by hand from a UDP socket.
type pbx struct {
	t    *testing.T
	conn net.PacketConn
	to   net.Addr
	via  string // host:port that its requests name; "": its socket
	got  []string
	seq  int
	toUs string // To of the server's 200, in the newest call
}

// peerAt opens one at host; the server is not needed yet.
func peerAt(t *testing.T, host string) *pbx {
	t.Helper()
	conn, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &pbx{t: t, conn: conn}
}

// of tells where the server is.
func (p *pbx) of(d *Daemon) *pbx {
	p.to = net.UDPAddrFromAddrPort(d.Addr(sipua.UDP))
	return p
}

func (p *pbx) addr() string { return p.conn.LocalAddr().String() }

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

// request sends one; a body is an SDP. The result is its text.
func (p *pbx) request(method, uri string, body string, headers ...string) string {
	p.t.Helper()
	p.seq++
	via := p.addr()
	if p.via != "" {
		via = p.via
	}
	lines := append([]string{
		method + " " + uri + " SIP/2.0", fmt.Sprintf("Via: SIP/2.0/UDP %s;branch=z9hG4bK%s%d", via, method, p.seq), "Max-Forwards: 70",
		"From: \"Anna\" <sip:100@pbx.example>;tag=anna", "To: <" + uri + ">", fmt.Sprintf("Call-ID: call-%d-%s", p.seq, p.addr()), "CSeq: 1 " + method,
		"Contact: <sip:100@" + p.addr() + ">",
	}, headers...)
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	text := strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body), "\r\n")
	p.write(text)
	return text
}

// again sends a request of an INVITE's transaction or dialog.
func (p *pbx) again(invite, method, to string) {
	p.t.Helper()
	r := []string{"INVITE sip", method + " sip", "1 INVITE", "1 " + method}
	if to != "" {
		r = append(r, "To: "+headerOf(invite, "To"), "To: "+to)
	}
	head, _, _ := strings.Cut(strings.NewReplacer(r...).Replace(invite), "\r\nContent-")
	p.write(head + "\r\nContent-Length: 0\r\n\r\n")
}

// reply answers a request.
func (p *pbx) reply(request, status, body string) {
	p.t.Helper()
	lines := []string{"SIP/2.0 " + status}
	for line := range strings.SplitSeq(request, "\r\n") {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Via", "From", "Call-ID", "CSeq":
			lines = append(lines, line)
		case "To":
			if !strings.Contains(line, "tag=") {
				line += ";tag=callee"
			}
			lines = append(lines, line)
		}
	}
	lines = append(lines, "Contact: <sip:"+p.addr()+">")
	if body != "" {
		lines = append(lines, "Content-Type: application/sdp")
	}
	p.write(strings.Join(append(lines, fmt.Sprintf("Content-Length: %d", len(body)), "", body), "\r\n"))
}

func (p *pbx) write(text string) {
	p.t.Helper()
	if _, err := p.conn.WriteTo([]byte(text), p.to); err != nil {
		p.t.Fatal(err)
	}
}

// headerOf is the value of the first header of that name.
func headerOf(message, name string) string {
	for line := range strings.SplitSeq(message, "\r\n") {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return v
		}
	}
	return ""
}

// sdpAt is an offer of PCMU and PCMA at host.
func sdpAt(host string) string {
	return "v=0\r\no=- 1 1 IN IP4 " + host + "\r\ns=-\r\nc=IN IP4 " + host + "\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 8\r\n"
}

const trunkHost = "127.0.0.2"

// hairpin is a server whose trunk calls itself: what it sends to 5... comes back to
// it as a call of its own.
func hairpin(t *testing.T, change func(*config.Config)) (*Daemon, *pbx) {
	t.Helper()
	p := peerAt(t, trunkHost)
	d := start(t, func(c *config.Config) {
		c.Trunks[0].Contact, c.Trunks[0].Qualify = "sip:"+p.addr(), 0
		c.Routes = append(c.Routes, config.Route{Name: "back", From: "pbx", Match: "^5", To: "trunk", Trunk: "pbx"})
		if change != nil {
			change(c)
		}
	})
	return d, p.of(d)
}

// unconfirmed makes a call over the hairpin and answers it; the caller's ACK is
// still to come.
func (p *pbx) unconfirmed() (invite string) {
	p.t.Helper()
	invite = p.request("INVITE", "sip:500@127.0.0.1", sdpAt(trunkHost))
	p.reply(p.read("INVITE "), "200 OK", sdpAt(trunkHost))
	p.read("ACK ")
	p.toUs = headerOf(p.read("SIP/2.0 200"), "To")
	return invite
}

// confirm sends that ACK.
func (p *pbx) confirm(invite string) {
	p.t.Helper()
	p.again(invite, "ACK", p.toUs)
}

// answered makes a call over the hairpin and answers it.
func (p *pbx) answered() (invite string) {
	p.t.Helper()
	invite = p.unconfirmed()
	p.confirm(invite)
	return invite
}

// syncLog collects a log.
type syncLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *syncLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *syncLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *syncLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// hangUp ends a call that answered made.
func (p *pbx) hangUp(invite string) {
	p.t.Helper()
	r := strings.NewReplacer("INVITE sip", "BYE sip", "1 INVITE", "2 BYE", "branch=z9hG4bKINVITE", "branch=z9hG4bKBYE", "To: "+headerOf(invite, "To"), "To: "+p.toUs)
	head, _, _ := strings.Cut(r.Replace(invite), "\r\nContent-")
	p.write(head + "\r\nContent-Length: 0\r\n\r\n")
	p.read("SIP/2.0 200")
}
