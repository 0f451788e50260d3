package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/sipua"
)

// restart stops the server and starts another one on the same folder, on ports of
// its own.
func (s *server) restart(t *testing.T) *server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	s.Stop(ctx)
	next := &server{cfg: s.cfg, apns: s.apns, promise: s.promise, ended: make(chan struct{}, 1)}
	var err error
	next.Daemon, err = daemon.New(t.Context(), s.cfg, daemon.Options{Log: slog.New(slog.DiscardHandler), Version: "test", Tap: next.promise.Saw, Recorded: next.recorded})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.end(t) })
	return next
}

// moved makes a phone use another server.
func (p *sleeper) moved(to netip.AddrPort) { p.side.server = to }

// TestRestartWakesSleepingPhone: what a REGISTER was answered 200 for is known
// after a restart, of a phone that slept and of one that lost its connection by it.
func TestRestartWakesSleepingPhone(t *testing.T) {
	for name, sleeps := range map[string]bool{"asleep before": true, "awake before": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := start(t, nil)
			side := sippPhone(first, "alice", "invited", "ring", "answer", "hungup", "quit").over(first, true)
			var phone *sleeper
			if sleeps {
				phone = asleep(t, first, side)
			} else {
				phone = newSleeper(first.apns, side)
				registered(t, phone.side)
			}
			s := first.restart(t)
			phone.moved(s.Addr(sipua.TCP))
			caller := runSIPp(t, sippPBX(s, "201", "invite", "ringing", "answered", "pause 100", "bye"))
			push := phone.pushed(t)
			awake := phone.wakes(t)
			invitedAs(t, awake, push)
			caller.ends(t, sippPassed)
			awake.ends(t, sippQuit)
			s.recorded1(t, wantRecord{result: bridge.Answered, status: 200, hangup: "caller", outcomes: []string{"won"}, pushesOf: map[string]int{side.Instance: 1}})
		})
	}
}

// TestRestartKeepsFates: a phone that was woken before the restart, too late, is
// told after it.
func TestRestartKeepsFates(t *testing.T) {
	t.Parallel()
	first := start(t, nil)
	side := sippPhone(first, "alice", "invited", "quit").over(first, true)
	side.Flags = ";+x-wake-fate"
	phone := asleep(t, first, side)
	runSIPp(t, sippPBX(first, "201", "invite", "ringing", "cancel", "refused 487")).ends(t, sippPassed)
	push := phone.pushed(t)
	first.record(t, 0)
	s := first.restart(t)
	phone.moved(s.Addr(sipua.TCP))
	phone.learns(t, push, true, 487, "Call cancelled")
}

// TestProgram runs the binary itself.
func TestProgram(t *testing.T) {
	t.Parallel()
	exe := builtProgram(t)
	for name, test := range map[string]func(*testing.T, string){
		"broken file": brokenFile, "port in use": portInUse, "killed": killed, "SIGHUP and SIGTERM": drains, "second SIGTERM": endsAtOnce,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, exe)
		})
	}
}

// brokenFile: exit code 3, every fault with its line and cure.
func brokenFile(t *testing.T, exe string) {
	file := newSetup(t).file
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`auth: [md5]`), []byte(`auth: [md4]`), 1)
	text = append(text, "calls: { ring_timeout: 30, ring_timeuot: 30s }\n"...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "--config", file}, {"check", file}} {
		p := runProgram(t, exe, args...)
		p.ends(t, 3)
		for _, want := range []string{file + ":9:", "domains[0].auth", file + ":17:", "calls.ring_timeout", "30s", "calls.ring_timeuot", "cure:"} {
			if !strings.Contains(p.log(), want) {
				t.Errorf("%s does not say %q", args[0], want)
			}
		}
	}
}

// portInUse: exit code 1, with the port and the key.
func portInUse(t *testing.T, exe string) {
	first := newSetup(t).serve(t, exe)
	second := newSetup(t)
	for key, replace := range map[string][2]string{
		"listen[1]": {`tcp, bind: "127.0.0.1:0"`, fmt.Sprintf(`tcp, bind: %q`, first.addr("tcp"))},
		"http.bind": {`http: { bind: "127.0.0.1:0"`, fmt.Sprintf(`http: { bind: %q`, first.addr("http"))},
	} {
		text, err := os.ReadFile(second.file)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "busy.yaml")
		if err := os.WriteFile(file, bytes.Replace(text, []byte(replace[0]), []byte(replace[1]), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		p := runProgram(t, exe, "serve", "--config", file)
		p.ends(t, 1)
		for _, want := range []string{key, replace[1][strings.Index(replace[1], "127.0.0.1") : len(replace[1])-1], "another program uses this port"} {
			if !strings.Contains(p.log(), want) {
				t.Errorf("it does not say %q: %s", want, p.log())
			}
		}
	}
}

// killed: a phone whose REGISTER was answered is woken by the next process, even
// if the first one was killed at that moment.
func killed(t *testing.T, exe string) {
	set := newSetup(t)
	p := set.serve(t, exe)
	side := sippPhoneAt(p.addr("tcp"), "alice", "invited", "ring", "answer", "hungup", "quit")
	side.tcp = true
	phone := newSleeper(set.apns, side)
	registered(t, phone.side)
	p.kill(t)
	for range 2 { // once more, as the phone registered for that call
		p = set.serve(t, exe)
		phone.moved(p.addr("tcp"))
		caller := runSIPp(t, sippPBXAt(p.addr("udp"), "201", "invite", "ringing", "answered", "pause 100", "bye"))
		push := phone.pushed(t)
		awake := phone.wakes(t)
		invitedAs(t, awake, push)
		caller.ends(t, sippPassed)
		awake.ends(t, sippQuit)
		if _, body := p.get(t, "/metrics"); !strings.Contains(body, `wakebridge_calls_total{result="answered"} 1`) {
			t.Errorf("the metrics do not count the call")
		}
		p.kill(t)
	}
}

// drains: SIGHUP changes nothing; SIGTERM refuses new calls, lets those in
// progress go on, and ends the process when they are over.
func drains(t *testing.T, exe string) {
	set := newSetup(t)
	p := set.serve(t, exe)
	phone := registered(t, sippPhoneAt(p.addr("udp"), "alice", "invited", "ring", "answer", "pause 3000", "bye", "quit"))
	caller := runSIPp(t, sippPBXAt(p.addr("udp"), "201", "invite", "answered", "hungup"))
	caller.await(t, true, "ACK")
	p.signal(t, syscall.SIGHUP)
	p.says(t, "SIGHUP")
	if status, body := p.get(t, "/readyz"); status != 200 {
		t.Errorf("after SIGHUP: %d %s", status, body)
	}
	p.signal(t, syscall.SIGTERM)
	p.says(t, "draining")
	if status, body := p.get(t, "/readyz"); status != 503 || !strings.Contains(body, "draining") {
		t.Errorf("after SIGTERM: %d %s", status, body)
	}
	late := runSIPp(t, sippPBXAt(p.addr("udp"), "201", "invite", "refused 503"))
	late.ends(t, sippPassed)
	if late.await(t, false, "SIP/2.0 503").header("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	phone.ends(t, sippQuit)
	caller.ends(t, sippPassed)
	hungUp := time.Now()
	p.ends(t, 0)
	if took := time.Since(hungUp); took > 5*time.Second {
		t.Errorf("it ended %s after the last call", took)
	}
	p.says(t, "wakebridge has ended")
}

// endsAtOnce: the second SIGTERM hangs up.
func endsAtOnce(t *testing.T, exe string) {
	set := newSetup(t)
	p := set.serve(t, exe)
	phone := registered(t, sippPhoneAt(p.addr("udp"), "alice", "invited", "ring", "answer", "hungup", "quit"))
	caller := runSIPp(t, sippPBXAt(p.addr("udp"), "201", "invite", "answered", "hungup"))
	caller.await(t, true, "ACK")
	p.signal(t, syscall.SIGTERM)
	p.says(t, "draining")
	p.signal(t, syscall.SIGTERM)
	second := time.Now()
	caller.ends(t, sippPassed) // it got BYE
	phone.ends(t, sippQuit)
	p.ends(t, 0)
	if took := time.Since(second); took > 5*time.Second {
		t.Errorf("it ended %s after the second signal", took)
	}
}
