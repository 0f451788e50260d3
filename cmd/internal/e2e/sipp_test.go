package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/sipua"
)

// sippSide says whom a SIPp plays, and what it does.
type sippSide struct {
	host   string         // its address
	port   int            // its port; 0: a free one
	tcp    bool           // over TCP, else UDP
	server netip.AddrPort // where it sends to
	play   []string       // pieces of testdata/sipp that it plays
	taken  []string       // pieces for each call that comes to it besides
	calls  int            // how often it plays; 0: once
	sippLines
}

// sippLines are what the pieces of scenarios are filled in with.
type sippLines struct {
	User, Password, Domain string
	From                   string // name-addr of the caller
	Called                 string // URI
	Push                   string // parameters of the Contact's URI, for pushes
	Instance               string // +sip.instance
	Flags                  string // other parameters of the Contact
	Seq                    int    // CSeq of the INVITE that counts
	Direction              string // of the SDP
	Sound                  string // port of the SDP; "": SIPp's own
	Args                   []string
}

// sippAgent is a SIPp that runs, or ran.
type sippAgent struct {
	side sippSide
	dir  string
	cmd  *exec.Cmd
	port int
	done chan struct{} // closed when it ended
	code int           // then its exit code
}

// Exit codes of SIPp.
const (
	sippPassed = 0  // all its calls went as written
	sippQuit   = 97 // a call that came to it went as written, up to the piece "quit"
)

// runSIPp starts a SIPp. It ends with the test at the latest, and after a minute.
func runSIPp(t *testing.T, side sippSide) *sippAgent {
	t.Helper()
	program, err := exec.LookPath("sipp")
	if err != nil {
		t.Skip("sipp is not installed (Debian: sip-tester)")
	}
	a := &sippAgent{side: side, dir: t.TempDir(), port: side.port, done: make(chan struct{})}
	if a.port == 0 {
		a.port = freePort(t, side.host)
	}
	transport := "u1"
	if side.tcp {
		transport = "t1"
	}
	args := []string{side.server.String(), "-i", side.host, "-p", strconv.Itoa(a.port), "-bind_local", "-mi", side.host, "-ci", side.host, "-t", transport,
		"-sf", a.scenario(t, "play", side.play), "-m", strconv.Itoa(max(side.calls, 1)), "-r", "20", "-l", "1000",
		"-timeout", "60s", "-timeout_error", "-nostdin", "-skip_rlimit",
		"-trace_msg", "-message_file", a.file("messages.log"), "-trace_err", "-error_file", a.file("errors.log")}
	if len(side.taken) > 0 {
		args = append(args, "-oocsf", a.scenario(t, "taken", side.taken))
	}
	a.cmd = exec.CommandContext(t.Context(), program, args...)
	a.cmd.Dir = a.dir
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	a.cmd.Cancel = func() error { return syscall.Kill(-a.cmd.Process.Pid, syscall.SIGKILL) }
	a.cmd.WaitDelay = 5 * time.Second
	var screen bytes.Buffer
	a.cmd.Stdout, a.cmd.Stderr = &screen, &screen
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // awaited below
		defer close(a.done)
		err := a.cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			fmt.Fprintln(&screen, err)
		}
		a.code = a.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		a.stop(t)
		if t.Failed() {
			t.Logf("SIPp at %s:%d ended with code %d\n%s\n%s", side.host, a.port, a.code, a.read("errors.log"), a.read("messages.log"))
			if a.read("messages.log") == "" {
				t.Log(screen.String())
			}
		}
	})
	return a
}

func (a *sippAgent) file(name string) string { return filepath.Join(a.dir, name) }

func (a *sippAgent) read(name string) string {
	text, err := os.ReadFile(a.file(name))
	if err != nil {
		return ""
	}
	return string(text)
}

// scenario joins pieces to a file that SIPp reads.
func (a *sippAgent) scenario(t *testing.T, name string, pieces []string) string {
	t.Helper()
	parts := template.Must(template.ParseGlob("testdata/sipp/*.xml"))
	var out bytes.Buffer
	fmt.Fprintf(&out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<scenario name=%q>\n", name)
	for _, p := range pieces {
		args := strings.Fields(p)
		lines := a.side.sippLines
		lines.Args, lines.Seq, lines.Direction = args[1:], 1, "sendrecv"
		if slices.Contains(pieces, "challenged") {
			lines.Seq = 2
		}
		if strings.HasPrefix(args[0], "reinvite") {
			lines.Direction = args[2]
			lines.Seq, _ = strconv.Atoi(args[1])
		}
		if err := parts.ExecuteTemplate(&out, args[0]+".xml", lines); err != nil {
			t.Fatal(err)
		}
	}
	out.WriteString("</scenario>\n")
	file := a.file(name + ".xml")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// stop ends it without a word to anybody: a phone that loses its power.
func (a *sippAgent) stop(t *testing.T) {
	t.Helper()
	select {
	case <-a.done:
		return
	default:
	}
	if err := a.cmd.Cancel(); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	<-a.done
}

// ends waits for its end and checks how it ended.
func (a *sippAgent) ends(t *testing.T, code int) {
	t.Helper()
	<-a.done // it bounds itself
	if a.code != code {
		t.Fatalf("SIPp at %s:%d ended with code %d, want %d", a.side.host, a.port, a.code, code)
	}
}

// sippMessage is a message that a SIPp sent or got.
type sippMessage struct {
	at   time.Time
	sent bool
	text string
}

// messageSize is in "UDP message sent (519 bytes):" and "UDP message received [271] bytes :".
var messageSize = regexp.MustCompile(`[0-9]+`)

// messages are those in its log so far.
func (a *sippAgent) messages() []sippMessage {
	var out []sippMessage
	for block := range strings.SplitSeq(a.read("messages.log"), "----------------------------------------------- ") {
		stamp, rest, ok := strings.Cut(block, "\n")
		what, text, found := strings.Cut(rest, "\n\n")
		if !ok || !found {
			continue
		}
		at, err := time.ParseInLocation("2006-01-02 15:04:05.000000", stamp, time.Local)
		size := messageSize.FindString(what)
		if n, e := strconv.Atoi(size); err != nil || e != nil || len(text) < n {
			continue // no message, or not all of it is in the file yet
		}
		out = append(out, sippMessage{at: at, sent: strings.Contains(what, "message sent"), text: text})
	}
	return out
}

// find gives the messages that begin with start, sent or received.
func (a *sippAgent) find(sent bool, start string) []sippMessage {
	var out []sippMessage
	for _, m := range a.messages() {
		if m.sent == sent && strings.HasPrefix(m.text, start) {
			out = append(out, m)
		}
	}
	return out
}

// await waits for the first message that begins with start.
func (a *sippAgent) await(t *testing.T, sent bool, start string) sippMessage {
	t.Helper()
	return a.awaitOne(t, start, func(m sippMessage) bool { return m.sent == sent && strings.HasPrefix(m.text, start) })
}

// awaitOne waits for the first message that is the wanted one.
func (a *sippAgent) awaitOne(t *testing.T, what string, is func(sippMessage) bool) sippMessage {
	t.Helper()
	var found sippMessage
	wait(t, 30*time.Second, what, func() (bool, string) {
		for _, m := range a.messages() {
			if is(m) {
				found = m
				return true, ""
			}
		}
		return false, a.read("errors.log")
	})
	return found
}

// header is the value of the first header of that name.
func (m sippMessage) header(name string) string {
	for line := range strings.SplitSeq(m.text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if n, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			return strings.TrimSpace(value)
		}
		if line == "" {
			break
		}
	}
	return ""
}

// freePort is a UDP and TCP port that nobody uses at host, below those that the
// system gives to connections: none can take it before its user does.
func freePort(t *testing.T, host string) int {
	t.Helper()
	var lc net.ListenConfig
	for range 50 {
		addr := fmt.Sprintf("%s:%d", host, 20000+rand.IntN(12000)) //nolint:gosec // no secret
		udp, err := lc.ListenPacket(t.Context(), "udp4", addr)
		if err != nil {
			continue
		}
		tcp, err := lc.Listen(t.Context(), "tcp4", addr)
		udp.Close()
		if err == nil {
			tcp.Close()
			return udp.LocalAddr().(*net.UDPAddr).Port //nolint:forcetypeassert // UDP
		}
	}
	t.Fatal("no free port")
	return 0
}

// freePorts is the first of n UDP ports, an even one, that nobody uses at any of this
// machine's IPv4 addresses, below those that the system gives to connections.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	var lc net.ListenConfig
	for range 50 {
		first := 2 * (10000 + rand.IntN((12000-n)/2)) //nolint:gosec // no secret
		var open []net.PacketConn
		for port := first; port < first+n; port++ {
			if conn, err := lc.ListenPacket(t.Context(), "udp4", fmt.Sprintf("0.0.0.0:%d", port)); err == nil {
				open = append(open, conn)
			}
		}
		for _, conn := range open {
			conn.Close()
		}
		if len(open) == n {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

// sippPBX is a SIPp that calls a number from the trunk.
func sippPBX(s *server, number string, play ...string) sippSide {
	return sippPBXAt(s.Addr(sipua.UDP), number, play...)
}

// sippPBXAt is sippPBX for any server.
func sippPBXAt(server netip.AddrPort, number string, play ...string) sippSide {
	return sippSide{host: trunkHost, server: server, play: play,
		sippLines: sippLines{From: `"Anna" <sip:100@` + trunkHost + `>`, Called: "sip:" + number + "@" + serverHost}}
}

// sippPhone is a SIPp that registers as a user and takes calls.
func sippPhone(s *server, user string, taken ...string) sippSide {
	return sippPhoneAt(s.Addr(sipua.UDP), user, taken...)
}

// sippPhoneAt is sippPhone for any server.
func sippPhoneAt(server netip.AddrPort, user string, taken ...string) sippSide {
	return sippSide{host: phoneHost, server: server, play: []string{"register", "pause 50000"}, taken: taken,
		sippLines: sippLines{User: user, Password: "secret", Domain: daemon.DevDomain, Instance: "urn:uuid:5f0f5b1c-0000-4000-8000-000000000001"}}
}

// over makes a phone use TCP.
func (side sippSide) over(s *server, tcp bool) sippSide {
	if side.tcp = tcp; tcp {
		side.server = s.Addr(sipua.TCP)
	}
	return side
}

// device makes a phone the nth installation of its user's app.
func (side sippSide) device(n int) sippSide {
	side.Instance = fmt.Sprintf("urn:uuid:5f0f5b1c-0000-4000-8000-%012d", n)
	return side
}

// registered starts a phone and waits until it is registered.
func registered(t *testing.T, side sippSide) *sippAgent {
	t.Helper()
	a := runSIPp(t, side)
	a.await(t, false, "SIP/2.0 200")
	return a
}

// wantRecord is what the record of the only call must say.
type wantRecord struct {
	result   bridge.Result
	status   int
	hangup   string
	outcomes []string       // of the attempts, in any order
	pushesOf map[string]int // accepted pushes by instance; all the others get none
}

// recorded1 waits for the record of the only call and compares it.
func (s *server) recorded1(t *testing.T, want wantRecord) bridge.Record {
	t.Helper()
	r := s.record(t, 0)
	if r.Result != want.result || r.Status != want.status || r.HangupBy != want.hangup {
		t.Errorf("record: %s %d, ended by %s; want %s %d, %s\n%+v", r.Result, r.Status, r.HangupBy, want.result, want.status, want.hangup, r)
	}
	var outcomes []string
	for _, a := range r.Attempts {
		outcomes = append(outcomes, a.Outcome)
		pushes := 0
		for instance, n := range want.pushesOf {
			if strings.Contains(a.Device, instance) {
				pushes = n
			}
		}
		if accepted := acceptedPushes(a); accepted != pushes || len(a.Pushes) != pushes {
			t.Errorf("%s: %d of %d pushes accepted, want %d: %+v", a.Device, accepted, len(a.Pushes), pushes, a.Pushes)
		}
	}
	slices.Sort(outcomes)
	wanted := slices.Clone(want.outcomes)
	slices.Sort(wanted)
	if !slices.Equal(outcomes, wanted) {
		t.Errorf("attempts ended as %q, want %q\n%+v", outcomes, wanted, r)
	}
	if n := s.recordCount(); n != 1 {
		t.Errorf("%d records of one call", n)
	}
	return r
}

func acceptedPushes(a bridge.AttemptRecord) int {
	n := 0
	for _, p := range a.Pushes {
		if p.Accepted {
			n++
		}
	}
	return n
}

// empty waits until the endpoint holds no dialog and no transaction.
func (s *server) empty(t *testing.T, limit time.Duration) {
	t.Helper()
	wait(t, limit, "dialogs and transactions to end", func() (bool, string) {
		_, dialogs, servers, clients := s.Endpoint().Sizes()
		return dialogs+servers+clients == 0, fmt.Sprintf("%d dialogs, %d server and %d client transactions", dialogs, servers, clients)
	})
}

// recordCount is how many calls are on record so far.
func (s *server) recordCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}
