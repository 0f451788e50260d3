package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // digest, as phones do it
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/sipua"
)

// tortureDir is the folder of the RFC 4475 set.
func tortureDir(t *testing.T) string {
	t.Helper()
	for _, dir := range []string{os.Getenv("RFC4475_DIR"), "../../../../shared/testdata/rfc4475"} {
		if files, err := filepath.Glob(filepath.Join(dir, "*.dat")); dir != "" && err == nil && len(files) > 0 {
			return dir
		}
	}
	t.Fatal("the messages of RFC 4475 are not there: set RFC4475_DIR to the folder that holds badaspec.dat and the others")
	return ""
}

// wirePeer is a plain socket that speaks SIP word by word.
type wirePeer struct {
	conn net.Conn
	done chan struct{} // closed when nothing comes any more

	mu  sync.Mutex
	got []string
}

// newWirePeer opens a socket from host to the server.
func newWirePeer(t *testing.T, host string, s *server, transport sipua.Transport) *wirePeer {
	t.Helper()
	local := netip.MustParseAddrPort(host + ":0")
	network, d := "udp4", net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(local)}
	if transport == sipua.TCP {
		network, d = "tcp4", net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(local)}
	}
	conn, err := d.DialContext(t.Context(), network, s.Addr(transport).String())
	if err != nil {
		t.Fatal(err)
	}
	p := &wirePeer{conn: conn, done: make(chan struct{})}
	go func() { // awaited by the clean-up
		defer close(p.done)
		if transport == sipua.TCP {
			p.readStream()
		} else {
			p.readPackets()
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-p.done
	})
	return p
}

func (p *wirePeer) readPackets() {
	buf := make([]byte, 65535)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}
		p.take(string(buf[:n]))
	}
}

func (p *wirePeer) readStream() {
	r := bufio.NewReader(p.conn)
	for {
		var head strings.Builder
		for !strings.HasSuffix(head.String(), "\r\n\r\n") {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			head.WriteString(line)
		}
		n, _ := strconv.Atoi(sippMessage{text: head.String()}.header("Content-Length"))
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		p.take(head.String() + string(body))
	}
}

func (p *wirePeer) take(message string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, message)
}

func (p *wirePeer) send(t *testing.T, data []byte) {
	t.Helper()
	if _, err := p.conn.Write(data); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Log(err) // the server may have closed it already
	}
}

// answer is the first final response with a Call-ID, "" while there is none.
func (p *wirePeer) answer(callID string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.got {
		if (sippMessage{text: m}).header("Call-ID") == callID && !strings.HasPrefix(m, "SIP/2.0 1") {
			return m
		}
	}
	return ""
}

// statuses are the different final statuses, in order, of all but the request
// with that Call-ID.
func (p *wirePeer) statuses(except string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	seen := make(map[string]bool)
	for _, m := range p.got {
		if (sippMessage{text: m}).header("Call-ID") == except || strings.HasPrefix(m, "SIP/2.0 1") || seen[m] {
			continue // a repeated response
		}
		seen[m] = true
		out = append(out, m[len("SIP/2.0 "):len("SIP/2.0 200")])
	}
	return out
}

// forget drops what came so far.
func (p *wirePeer) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = nil
}

// closed says that the server closed the connection.
func (p *wirePeer) closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// request makes a request of alice's phone outside any dialog.
func (p *wirePeer) request(method, callID string, seq int, headers ...string) []byte {
	transport := "TCP"
	if p.conn.LocalAddr().Network() == "udp" {
		transport = "UDP"
	}
	lines := append([]string{
		method + " sip:" + daemon.DevDomain + " SIP/2.0",
		fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bK%s%d;rport", transport, p.conn.LocalAddr(), callID, seq),
		"From: <sip:alice@" + daemon.DevDomain + ">;tag=wire", "To: <sip:alice@" + daemon.DevDomain + ">",
		"Call-ID: " + callID, fmt.Sprintf("CSeq: %d %s", seq, method), "Max-Forwards: 70",
	}, headers...)
	return []byte(strings.Join(append(lines, "Content-Length: 0", "", ""), "\r\n"))
}

// register registers alice's phone of that instance on this socket.
func (p *wirePeer) register(t *testing.T, instance string) {
	t.Helper()
	contact := fmt.Sprintf("Contact: <sip:alice@%s;transport=tcp>;+sip.instance=%q;expires=600", p.conn.LocalAddr(), "<"+instance+">")
	id := "register-" + instance[len(instance)-12:]
	p.send(t, p.request("REGISTER", id, 1, contact))
	var challenge string
	wait(t, 10*time.Second, "a challenge", func() (bool, string) {
		challenge = p.answer(id)
		return challenge != "", "none came"
	})
	nonce := regexp.MustCompile(`nonce="([^"]+)"`).FindStringSubmatch(challenge)
	if nonce == nil {
		t.Fatalf("no challenge: %s", challenge)
	}
	sum := func(s string) string { return fmt.Sprintf("%x", md5.Sum([]byte(s))) } //nolint:gosec // digest
	uri := "sip:" + daemon.DevDomain
	response := sum(sum("alice:"+daemon.DevDomain+":secret") + ":" + nonce[1] + ":00000001:c:auth:" + sum("REGISTER:"+uri))
	p.send(t, p.request("REGISTER", id+"-2", 2, contact, fmt.Sprintf(
		"Authorization: Digest username=\"alice\", realm=%q, nonce=%q, uri=%q, response=%q, algorithm=MD5, cnonce=\"c\", nc=00000001, qop=auth",
		daemon.DevDomain, nonce[1], uri, response)))
	wait(t, 10*time.Second, "200 to REGISTER", func() (bool, string) {
		ok := p.answer(id + "-2")
		return strings.HasPrefix(ok, "SIP/2.0 200"), ok
	})
}

// goroutinesOf counts those that bear a label, that of the server that they
// belong to: other tests run at the same time. where says what they do.
func goroutinesOf(label string) (n int, where string) {
	var out bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&out, 1); err != nil {
		return -1, err.Error()
	}
	var stacks []string
	_, profile, _ := strings.Cut(out.String(), "\n") // "goroutine profile: total 7"
	for stack := range strings.SplitSeq(profile, "\n\n") {
		first, _, ok := strings.Cut(stack, " @ ")
		if count, err := strconv.Atoi(first); ok && err == nil && strings.Contains(stack, strconv.Quote(label)) {
			n += count
			stacks = append(stacks, stack)
		}
	}
	return n, strings.Join(stacks, "\n\n")
}

// settledGoroutines counts the goroutines of the test's server once its start is over:
// both connections to APNs stand, and half a second long none came and none went.
func settledGoroutines(t *testing.T, s *server) (n int, where string) {
	t.Helper()
	same := 0
	wait(t, 20*time.Second, "the server's start to be over", func() (bool, string) {
		was := n
		if n, where = goroutinesOf(t.Name()); n == was && s.apns.Stats().Open >= 2 {
			same++
		} else {
			same = 0
		}
		return same >= 50, where
	})
	return n, where
}

// torture is what the server does with a message of RFC 4475 and why: the final
// statuses that come back, "" for silence.
type torture struct {
	file string
	udp  string // sent by the trunk, whose calls are routed
	tcp  string // sent on a registered phone's connection, where a stranger's INVITE is refused
	// closes: that connection ends, since nobody knows where the next message
	// begins. waits: it waits for the rest of the message, and is closed when none
	// comes. On all others the phone's next request is answered.
	closes, waits bool
	reason        string
}

// The RFC calls the first thirteen of EXPECT.tsv valid and the others not; what
// differs from that says "although".
var tortures = []torture{
	{file: "badaspec.dat", udp: "400", tcp: "400", reason: "To and From do not parse"},
	{file: "badbranch.dat", udp: "200", tcp: "200", reason: "a branch that is only the cookie is matched as in RFC 2543"},
	{file: "baddate.dat", udp: "404", tcp: "403", reason: "although Date is wrong: nobody reads it; the number is nobody's"},
	{file: "baddn.dat", udp: "400", waits: true, reason: "the headers do not end"},
	{file: "badinv01.dat", udp: "400", tcp: "400", reason: "Via and Contact do not parse"},
	{file: "badvers.dat", udp: "505", tcp: "505", reason: "SIP/7.0"},
	{file: "bcast.dat", reason: "a response that nobody waits for"},
	{file: "bext01.dat", udp: "420", tcp: "420", reason: "Require names what does not exist"},
	{file: "bigcode.dat", reason: "a response with an impossible status"},
	{file: "clerr.dat", udp: "400", waits: true, reason: "the body is shorter than Content-Length"},
	{file: "cparam01.dat", udp: "404", tcp: "404", reason: "the REGISTER is for a domain that is not ours"},
	{file: "cparam02.dat", udp: "404", tcp: "404", reason: "the REGISTER is for a domain that is not ours"},
	{file: "dblreq.dat", udp: "404", tcp: "403 404", reason: "a REGISTER for another domain; the INVITE behind it is dropped in a datagram and the next message of a stream"},
	{file: "esc01.dat", udp: "404", tcp: "403", reason: "escapes are fine; the number is nobody's"},
	{file: "esc02.dat", udp: "501", tcp: "501", reason: "RE%47IST%45R is a method of its own"},
	{file: "escnull.dat", udp: "404", tcp: "404", reason: "an escaped NUL is text; the REGISTER is for another domain"},
	{file: "escruri.dat", udp: "400", tcp: "400", reason: "a Request-URI has no headers"},
	{file: "insuf.dat", reason: "without To, From and Call-ID no response can be made"},
	{file: "intmeth.dat", reason: "although it is valid: control characters, even escaped, are never repeated in an answer"},
	{file: "inv2543.dat", udp: "400", tcp: "400", closes: true, reason: "although RFC 2543 allowed it: From has no tag, and on a stream its body has no Content-Length"},
	{file: "invut.dat", udp: "415", tcp: "403", reason: "its body is no SDP"},
	{file: "longreq.dat", udp: "404", tcp: "403", reason: "long, but not too long; the number is nobody's"},
	{file: "ltgtruri.dat", udp: "400", tcp: "400", reason: "a Request-URI in angle brackets"},
	{file: "lwsdisp.dat", udp: "200", tcp: "200", reason: "OPTIONS"},
	{file: "lwsruri.dat", udp: "400", tcp: "400", reason: "blanks in the Request-URI"},
	{file: "lwsstart.dat", udp: "400", tcp: "400", reason: "blanks in the start line"},
	{file: "mcl01.dat", udp: "400", tcp: "400", closes: true, reason: "two lengths"},
	{file: "mismatch01.dat", udp: "400", tcp: "400", reason: "CSeq names another method"},
	{file: "mismatch02.dat", udp: "400", tcp: "400", reason: "CSeq names another method"},
	{file: "mpart01.dat", udp: "405", tcp: "405", reason: "although it is valid: MESSAGE does not work here"},
	{file: "multi01.dat", udp: "400", tcp: "400", reason: "what may stand there once stands there twice"},
	{file: "ncl.dat", udp: "400", tcp: "400", closes: true, reason: "a negative length"},
	{file: "noreason.dat", reason: "a response that nobody waits for"},
	{file: "novelsc.dat", udp: "400", tcp: "400", reason: "a Request-URI that is none of SIP's"},
	{file: "quotbal.dat", udp: "400", tcp: "400", reason: "a quote without end"},
	{file: "regaut01.dat", udp: "404", tcp: "404", reason: "the REGISTER is for a domain that is not ours"},
	{file: "regbadct.dat", udp: "404", tcp: "404", reason: "the REGISTER is for a domain that is not ours"},
	{file: "regescrt.dat", udp: "404", tcp: "404", reason: "the REGISTER is for a domain that is not ours"},
	{file: "scalar02.dat", udp: "400", tcp: "400", reason: "numbers out of range"},
	{file: "scalarlg.dat", reason: "a response that nobody waits for"},
	{file: "sdp01.dat", udp: "404", tcp: "403", reason: "although Accept excludes SDP: the number is nobody's"},
	{file: "semiuri.dat", udp: "200", tcp: "200", reason: "OPTIONS to a user with a semicolon"},
	{file: "test.dat", reason: "no version and no Via: no response can be made"},
	{file: "transports.dat", udp: "200", tcp: "200", reason: "the transports of other hops are not ours to judge"},
	{file: "trws.dat", udp: "400", tcp: "400", reason: "a blank behind the start line"},
	{file: "unkscm.dat", udp: "416", tcp: "416", reason: "an unknown scheme"},
	{file: "unksm2.dat", udp: "404", tcp: "404", reason: "the REGISTER is for no user of ours"},
	{file: "unreason.dat", reason: "a response that nobody waits for"},
	{file: "wsinv.dat", udp: "481", tcp: "481", reason: "although it is valid: its To tag belongs to no dialog here"},
	{file: "zeromf.dat", udp: "200", tcp: "200", reason: "Max-Forwards 0 has reached its end here"},
}

// TestRFC4475 sends the torture messages to the running server: what comes back is
// in the table; nothing crashes, nothing is left, and no phone loses its
// connection by what others send.
func TestRFC4475(t *testing.T) {
	t.Parallel()
	dir := tortureDir(t)
	if files, err := filepath.Glob(filepath.Join(dir, "*.dat")); err != nil || len(files) != len(tortures) {
		t.Fatalf("%d messages in %s (%v), and the table has %d", len(files), dir, err, len(tortures))
	}
	for _, transport := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			runTortures(t, dir, transport)
		})
	}
}

func runTortures(t *testing.T, dir string, transport sipua.Transport) {
	var s *server
	pprof.Do(t.Context(), pprof.Labels("server", t.Name()), func(context.Context) {
		s = start(t, func(c *config.Config) {
			c.Domains[0].MaxContacts = 100
			c.Limits.RegisterPerSource, c.Limits.AuthFailures.Max = config.Rate{}, 0
		})
	})
	bystander := newWirePeer(t, phoneHost, s, sipua.TCP)
	bystander.register(t, instanceOf(999))
	before, were := settledGoroutines(t, s)
	if before < 10 {
		t.Fatalf("%d goroutines bear the server's label: they cannot be told from others", before)
	}
	peers := make(map[string]*wirePeer)
	for i, m := range tortures {
		data, err := os.ReadFile(filepath.Join(dir, m.file))
		if err != nil {
			t.Fatal(err)
		}
		var p *wirePeer
		if transport == sipua.TCP {
			p = newWirePeer(t, phoneHost, s, transport)
			p.register(t, instanceOf(i))
			p.forget()
		} else {
			p = newWirePeer(t, trunkHost, s, transport)
		}
		peers[m.file] = p
		p.send(t, data)
		if !m.waits || transport == sipua.UDP {
			p.send(t, p.request("OPTIONS", probe, 1))
		}
		if !m.ends(transport) { // one by one: some have the branch of another
			m.await(t, p, transport)
		}
	}
	for _, m := range tortures {
		m.check(t, peers[m.file], transport)
	}
	bystander.send(t, bystander.request("OPTIONS", probe, 1))
	wait(t, 5*time.Second, "an answer to the bystander", func() (bool, string) { return bystander.answer(probe) != "", "none" })
	for _, p := range peers {
		p.conn.Close()
	}
	s.empty(t, 45*time.Second) // Timers H and J
	wait(t, 15*time.Second, "goroutines to end", func() (bool, string) {
		now, are := goroutinesOf(t.Name())
		return now <= before, fmt.Sprintf("%d before, %d now:\n%s\n\nbefore:\n%s", before, now, are, were)
	})
	if bystander.closed() {
		t.Error("the bystander lost its connection")
	}
}

// probe is the Call-ID of the request that follows each message.
const probe = "probe"

func instanceOf(n int) string { return fmt.Sprintf("urn:uuid:5f0f5b1c-0000-4000-8000-%012d", n) }

// want are the statuses that should come back.
func (m torture) want(transport sipua.Transport) string {
	if transport == sipua.TCP {
		return m.tcp
	}
	return m.udp
}

// ends says that the connection should end.
func (m torture) ends(transport sipua.Transport) bool {
	return transport == sipua.TCP && (m.closes || m.waits)
}

// await waits for what the table says.
func (m torture) await(t *testing.T, p *wirePeer, transport sipua.Transport) {
	t.Helper()
	n := len(strings.Fields(m.want(transport)))
	wait(t, 20*time.Second, m.file, func() (bool, string) {
		if m.ends(transport) {
			return p.closed(), "the connection is open"
		}
		return p.answer(probe) != "" && len(p.statuses(probe)) >= n, fmt.Sprintf("answers %s, want %q", p.statuses(probe), m.want(transport))
	})
}

// check compares what came back with the table.
func (m torture) check(t *testing.T, p *wirePeer, transport sipua.Transport) {
	t.Helper()
	m.await(t, p, transport)
	got := p.statuses(probe)
	slices.Sort(got) // a REGISTER and an INVITE have different owners
	if want := m.want(transport); strings.Join(got, " ") != want {
		t.Errorf("%s: answers %s, want %q, because: %s", m.file, got, want, m.reason)
	}
	if !m.ends(transport) && p.closed() {
		t.Errorf("%s: the connection was closed, although: %s", m.file, m.reason)
	}
}
