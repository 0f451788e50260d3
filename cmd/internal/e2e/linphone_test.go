package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"wakebridge/bridge/media/audio"
)

// linphone is a phone that runs Linphone's console program. Its folder outlives
// the program, as an app's data does.
type linphone struct {
	folder string
	speech string // WAV file that it says in each call

	stdin  io.WriteCloser
	cmd    *exec.Cmd
	gone   chan struct{} // closed when the program of cmd ended
	starts int
	screen screen
}

// linphoneAccount is what the test fills into testdata/linphone/linphonerc.
type linphoneAccount struct {
	Server   string // host:port;transport=...
	Domain   string
	User     string // alice if empty
	Push     string // parameters of the Contact's URI
	Instance string
	RootCA   string // file
	// Encryption is none or srtp, Mandatory that it takes nothing else.
	Encryption string
	Mandatory  bool
	KeysByInfo bool // it sends keys by SIP INFO, not as RFC 4733 events
}

// screen collects what a program prints.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// newLinphone makes the folder of a phone that was never started.
func newLinphone(t *testing.T, account linphoneAccount, speech string) *linphone {
	t.Helper()
	account.User = cmp.Or(account.User, "alice")
	l := &linphone{folder: t.TempDir(), speech: speech}
	// Without its data folder it opens no database, and then no transport.
	if err := os.MkdirAll(filepath.Join(l.folder, ".local", "share", "linphone"), 0o700); err != nil {
		t.Fatal(err)
	}
	rc, err := os.Create(l.file("linphonerc"))
	if err != nil {
		t.Fatal(err)
	}
	tmpl := template.Must(template.ParseFiles("testdata/linphone/linphonerc"))
	if err := errors.Join(tmpl.Execute(rc, account), rc.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.sleep(t)
		if t.Failed() {
			t.Logf("linphonec printed:\n%s", &l.screen)
		}
		l.keepLogs(t)
	})
	return l
}

// keepLogs copies its logs to the folder that E2E_KEEP names, if any.
func (l *linphone) keepLogs(t *testing.T) {
	t.Helper()
	to := os.Getenv("E2E_KEEP")
	if to == "" {
		return
	}
	for n := range l.starts {
		text, err := os.ReadFile(l.log(n + 1))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, strings.ReplaceAll(t.Name(), "/", "-")+fmt.Sprintf("-%d.log", n+1)), text, 0o600)
		}
		if err != nil {
			t.Log(err)
		}
	}
}

func (l *linphone) file(name string) string { return filepath.Join(l.folder, name) }

// log is the file with all that the nth start logged.
func (l *linphone) log(n int) string { return l.file(fmt.Sprintf("%d.log", n)) }

// recording is the file with what it heard since the nth start.
func (l *linphone) recording(n int) string { return l.file(fmt.Sprintf("heard%d.wav", n)) }

// wake starts the program, which registers by itself.
func (l *linphone) wake(t *testing.T) {
	t.Helper()
	l.starts++
	l.cmd = exec.Command("linphonec", "-c", l.file("linphonerc"), "-d", "6", "-l", l.log(l.starts)) //nolint:gosec // ours
	l.cmd.Dir = l.folder
	l.cmd.Env = []string{"HOME=" + l.folder, "PATH=" + os.Getenv("PATH"), "TERM=dumb", "LANG=C.UTF-8",
		"PULSE_SERVER=unix:/nonexistent", "XDG_RUNTIME_DIR=" + l.folder}
	l.cmd.Stdout, l.cmd.Stderr = &l.screen, &l.screen
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // sleep ends what it started as well
	l.cmd.WaitDelay = 5 * time.Second
	var err error
	if l.stdin, err = l.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, gone := l.cmd, make(chan struct{})
	l.gone = gone
	go func() { // awaited by sleep
		defer close(gone)
		cmd.Wait()
	}()
	l.do(t, "soundcard use files")
	l.do(t, "play "+l.speech)
	l.do(t, "record "+l.recording(l.starts))
}

// sleep kills the program without a chance to say goodbye to anybody. (To quit
// would log the phone out.)
func (l *linphone) sleep(t *testing.T) {
	t.Helper()
	if l.cmd == nil {
		return
	}
	if err := syscall.Kill(-l.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	<-l.gone
	l.cmd = nil
}

// do types a command.
func (l *linphone) do(t *testing.T, command string) {
	t.Helper()
	if _, err := fmt.Fprintln(l.stdin, command); err != nil {
		t.Fatalf("linphonec: %s: %v", command, err)
	}
}

// logged waits until the log since the last start has text, and returns the log.
func (l *linphone) logged(t *testing.T, text string) string {
	t.Helper()
	var all string
	wait(t, 20*time.Second, "linphonec to log "+text, func() (bool, string) {
		b, err := os.ReadFile(l.log(l.starts))
		if err != nil {
			return false, err.Error()
		}
		all = string(b)
		select {
		case <-l.gone:
			return true, ""
		default:
		}
		return strings.Contains(all, text), "it did not"
	})
	if !strings.Contains(all, text) {
		t.Fatalf("linphonec ended before it logged %s", text)
	}
	return all
}

// heard are the samples that it recorded since its last start.
func (l *linphone) heard(t *testing.T) []int16 {
	t.Helper()
	return readWAV(t, l.recording(l.starts))
}

func readWAV(t *testing.T, name string) []int16 {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := audio.ReadWAV(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return samples
}

// speak makes a WAV file of a spoken text, 8 kHz mono.
func speak(t *testing.T, voice, text string) string {
	t.Helper()
	dir := t.TempDir()
	raw, wav := filepath.Join(dir, "raw.wav"), filepath.Join(dir, "speech.wav")
	for _, args := range [][]string{
		{"espeak-ng", "-v", voice, "-w", raw, text},
		{"sox", raw, "-r", "8000", "-c", "1", "-b", "16", "-e", "signed-integer", wav, "gain", "-n", "-6"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil { //nolint:gosec // ours
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	return wav
}

// needPrograms fails the test with the packages of what is not installed.
func needPrograms(t *testing.T, packages map[string]string) {
	t.Helper()
	for program, pkg := range packages {
		if _, err := exec.LookPath(program); err != nil {
			t.Errorf("%s is not installed (Debian: apt-get install %s); make test does it", program, pkg)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// speechCall is a call of a SIPp whose sound is an rtpEndpoint.
type speechCall struct {
	sound  *rtpEndpoint
	addr   netip.AddrPort // of the SIPp
	callID string
	folder string
	screen screen
	gone   chan struct{}
	err    error // of the program, once it is gone
}

// callWithSpeech makes a SIPp call a number from the trunk.
func callWithSpeech(t *testing.T, server netip.AddrPort, number string, speech []int16) *speechCall {
	t.Helper()
	c := &speechCall{sound: newRTPEndpoint(t, trunkHost, speech), folder: t.TempDir(), gone: make(chan struct{})}
	c.callID = "speech-" + filepath.Base(filepath.Dir(c.folder)) + filepath.Base(c.folder) + "@" + trunkHost
	scenario, err := filepath.Abs("testdata/linphone/caller.xml")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = netip.AddrPortFrom(netip.MustParseAddr(trunkHost), uint16(freePort(t, trunkHost)))                            //nolint:gosec // a port
	cmd := exec.CommandContext(t.Context(), "sipp", server.String(), "-sf", scenario, "-s", number, "-m", "1", "-t", "u1", //nolint:gosec // ours
		"-i", trunkHost, "-p", fmt.Sprint(c.addr.Port()), "-ci", trunkHost, "-key", "rtp_port", fmt.Sprint(c.sound.addr.Port()),
		"-cid_str", c.callID, "-timeout", "60s", "-timeout_error", "-nostdin",
		"-trace_logs", "-log_file", c.file("log"), "-trace_err", "-error_file", c.file("errors"), "-trace_msg", "-message_file", c.file("messages"))
	cmd.Dir = c.folder
	cmd.Stdout, cmd.Stderr = &c.screen, &c.screen
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // awaited by the function below and by ended
		defer close(c.gone)
		c.err = cmd.Wait()
	}()
	t.Cleanup(func() { // the test's context is over: the program was told to end
		<-c.gone
		if t.Failed() {
			t.Logf("sipp: %v\n%s\n%s\n%s", c.err, c.read("errors"), c.read("messages"), &c.screen)
		}
	})
	return c
}

func (c *speechCall) file(name string) string { return filepath.Join(c.folder, name) }

// read is a file that SIPp writes, empty until it does.
func (c *speechCall) read(name string) string {
	text, err := os.ReadFile(c.file(name))
	if err != nil {
		return ""
	}
	return string(text)
}

// answered waits for the 200 and lets the sound begin: to where its SDP says.
func (c *speechCall) answered(t *testing.T) {
	t.Helper()
	media := regexp.MustCompile(`media ([0-9.]+:[0-9]+)`)
	var found []string
	wait(t, 20*time.Second, "sipp to be answered", func() (bool, string) {
		found = media.FindStringSubmatch(c.read("log"))
		return found != nil, c.read("errors")
	})
	c.sound.sendTo(netip.MustParseAddrPort(found[1]))
}

// hangUp makes SIPp send its BYE and waits for its end.
func (c *speechCall) hangUp(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("udp4", c.addr.String()) //nolint:noctx // UDP does not wait
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "INFO sip:100@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bKhangup\r\nMax-Forwards: 70\r\n"+
		"From: <sip:test@%[2]s>;tag=test\r\nTo: <sip:100@%[1]s>;tag=1\r\nCall-ID: %[3]s\r\nCSeq: 1 INFO\r\nContent-Length: 0\r\n\r\n",
		c.addr, conn.LocalAddr(), c.callID)
	if err := errors.Join(err, conn.Close()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.gone:
	case <-time.After(15 * time.Second):
		t.Fatal("sipp did not end")
	}
	if c.err != nil {
		t.Fatalf("sipp: %v", c.err)
	}
}
