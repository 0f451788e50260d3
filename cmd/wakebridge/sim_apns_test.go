package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// simAPNs is `sim apns --json` while it runs.
type simAPNs struct {
	t     *testing.T
	lines *bufio.Scanner
	code  chan int
	errs  bytes.Buffer // read after code
	ready struct {
		Event, Production string
		CAFile            string `json:"ca_file"`
		Certificates      []struct {
			File string `json:"pem_file"`
		} `json:"certificates"`
		Devices []struct {
			Token string `json:"voip_token"`
		} `json:"devices"`
	}
}

func startSimAPNs(t *testing.T, args ...string) *simAPNs {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	s := &simAPNs{t: t, lines: bufio.NewScanner(r), code: make(chan int, 1)}
	go func() { // awaited by the cleanup, which reads to the end
		s.code <- run(ctx, append([]string{"sim", "apns", "--json", "--certificates", "--for", "20s"}, args...), w, &s.errs)
		w.Close()
	}()
	t.Cleanup(func() {
		cancel()
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
	})
	if err := json.Unmarshal([]byte(s.line()), &s.ready); err != nil || s.ready.Event != "ready" {
		t.Fatalf("first document: %v, %+v", err, s.ready)
	}
	return s
}

func (s *simAPNs) line() string {
	s.t.Helper()
	if !s.lines.Scan() {
		s.t.Fatalf("ended with %d: %s", <-s.code, &s.errs)
	}
	return s.lines.Text()
}

// push sends a VoIP push as any sender would that has the certificate's file.
func (s *simAPNs) push(hex string) int {
	s.t.Helper()
	ca, err := os.ReadFile(s.ready.CAFile)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(s.ready.Certificates[0].File, s.ready.Certificates[0].File)
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.ready.Production+"/3/device/"+hex, strings.NewReader(`{"aps":{}}`))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("apns-push-type", "voip")
	resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestSimAPNsUntilASignal(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		hex  string // empty: the device's
		code int
	}{
		{"all is well", nil, "", exitOK},
		{"as many as expected", []string{"--expect", "2"}, "", exitFailed},
		{"a refused push is reported only", nil, "abcd", exitOK},
		{"a refused push fails the run", []string{"--fail-refused"}, "abcd", exitFailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := startSimAPNs(t, tt.args...)
			hex, want := tt.hex, http.StatusBadRequest
			if hex == "" {
				hex, want = s.ready.Devices[0].Token, http.StatusOK
			}
			if status := s.push(hex); status != want {
				t.Errorf("status %d, want %d", status, want)
			}
			if line := s.line(); !strings.Contains(line, `"event":"push"`) {
				t.Errorf("line %s", line)
			}
			signalSelf(t, syscall.SIGINT)
			if line := s.line(); !strings.Contains(line, `"event":"end"`) {
				t.Errorf("last line %s", line)
			}
			if code := <-s.code; code != tt.code {
				t.Errorf("exit code %d, want %d: %s", code, tt.code, &s.errs)
			}
		})
	}
}

func TestSimAPNsEndsWhenItHasEnough(t *testing.T) {
	s := startSimAPNs(t, "--expect", "1")
	s.push(s.ready.Devices[0].Token)
	if code := <-drained(s); code != exitOK {
		t.Errorf("exit code %d: %s", code, &s.errs)
	}
}

// drained reads what is left of the output, and gives the exit code.
func drained(s *simAPNs) <-chan int {
	for s.lines.Scan() {
		continue
	}
	return s.code
}

func TestSimAPNsExitCodes(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "faults.yaml")
	if err := os.WriteFile(bad, []byte("faults: [{ action: { fault: explode } }]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   []string
		code   int
		stderr string
	}{
		{[]string{"--for", "1ms"}, exitOK, ""},
		{[]string{"--for", "1ms", "--expect", "1"}, exitFailed, "0 of 1"},
		{[]string{"--faults", bad}, exitConfig, "unknown fault"},
		{[]string{"--faults", bad + ".none"}, exitConfig, "none"},
		{[]string{"--admin", "0.0.0.0:0"}, exitUsage, "loopback"},
		{[]string{"--team", "x"}, exitUsage, "team"},
		{[]string{"--production", "127.0.0.1:99999"}, exitFailed, "99999"},
		{[]string{"--nothing"}, exitUsage, "--nothing"},
		{[]string{"more"}, exitUsage, "takes no argument"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"sim", "apns"}, tt.args...), &out, &errs); code != tt.code || !strings.Contains(errs.String(), tt.stderr) {
			t.Errorf("%v: exit %d, want %d\n%s", tt.args, code, tt.code, &errs)
		}
	}
}
