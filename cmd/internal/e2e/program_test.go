package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
)

// program is a Wakebridge process.
type program struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
	code int           // then its exit code

	mu    sync.Mutex
	lines []string // of its log
	addrs map[string]netip.AddrPort
}

// builtProgram builds cmd/wakebridge, with the race detector if the test has it,
// so that the packages are not compiled twice.
func builtProgram(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "wakebridge")
	args := []string{"build", "-o", exe}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-race" && s.Value == "true" {
				args = append(args, "-race")
			}
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, "wakebridge/cmd/wakebridge")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return exe
}

// runProgram starts it; it ends with the test at the latest.
func runProgram(t *testing.T, exe string, args ...string) *program {
	t.Helper()
	p := &program{done: make(chan struct{}), addrs: make(map[string]netip.AddrPort)}
	p.cmd = exec.CommandContext(t.Context(), exe, args...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WAKEBRIDGE_") {
			p.cmd.Env = append(p.cmd.Env, v)
		}
	}
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // awaited by the clean-up
		defer close(p.done)
		p.read(out)
		var exit *exec.ExitError
		if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
			p.note(err.Error())
		}
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		p.kill(t)
		if t.Failed() {
			t.Logf("wakebridge %s ended with code %d:\n%s", args, p.code, p.log())
		}
	})
	return p
}

func (p *program) read(out io.Reader) {
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		p.note(scanner.Text())
	}
}

// note takes a line of the log; some say where the program listens.
func (p *program) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	var entry struct{ Msg, Transport, Address string }
	if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "listening" {
		if addr, err := netip.ParseAddrPort(entry.Address); err == nil {
			p.addrs[entry.Transport] = addr
		}
	}
}

func (p *program) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

func (p *program) addr(transport string) netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addrs[transport]
}

// says waits for a line of the log.
func (p *program) says(t *testing.T, text string) {
	t.Helper()
	wait(t, 30*time.Second, "the log to say "+text, func() (bool, string) { return strings.Contains(p.log(), text), p.log() })
}

func (p *program) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// kill ends it as a power cut would.
func (p *program) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Cancel(); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
	<-p.done
}

// ends waits for its end and checks the exit code.
func (p *program) ends(t *testing.T, code int) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
	}
	if p.code != code {
		t.Errorf("exit code %d, want %d", p.code, code)
	}
}

// get fetches a page of its HTTP port.
func (p *program) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.addr("http").String()+path, nil)
	if err != nil {
		t.Fatal(err)
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

// setup is a folder with a configuration file for a program.
type setup struct {
	file string
	apns *apnssim.Sim
}

// newSetup writes the file; its ports are free ones.
func newSetup(t *testing.T) setup {
	t.Helper()
	dev, err := daemon.NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	app, apns := dev.Config.Push.Apps[0], dev.Config.Push.APNs
	dir := t.TempDir()
	media := freePort(t, serverHost) &^ 1
	text := fmt.Sprintf(`node: { id: e2e, data_dir: data }
log: { level: debug, format: json }
listen:
  - { transport: udp, bind: "127.0.0.1:0" }
  - { transport: tcp, bind: "127.0.0.1:0" }
media: { bind: ["127.0.0.1"], rtp_start: %d, rtp_end: %d }
domains:
  - name: %s
    auth: [md5]
    users: [{ name: alice, password: "secret", numbers: ["201"] }]
trunks:
  - { name: pbx, kind: peer, match: ["127.0.0.2"], contact: "sip:127.0.0.2:5060", qualify: 0s }
push:
  apps: [{ bundle_id: %s, team_id: %s, keys: [{ file: %s, id: %s }] }]
  apns: { production: %q, sandbox: %q, ca_file: %s }
http: { bind: "127.0.0.1:0" }
`, min(media, 65000), min(media, 65000)+99, daemon.DevDomain, app.BundleID, app.TeamID, app.Keys[0].File, app.Keys[0].ID, apns.Production, apns.Sandbox, apns.CAFile)
	s := setup{file: filepath.Join(dir, "wakebridge.yaml"), apns: dev.APNs}
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// serve starts the program on the set-up and waits until it is ready.
func (s setup) serve(t *testing.T, exe string) *program {
	t.Helper()
	p := runProgram(t, exe, "serve", "--config", s.file)
	p.says(t, "wakebridge is ready")
	return p
}
