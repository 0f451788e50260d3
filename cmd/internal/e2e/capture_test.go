package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/api"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// captured is a call of which there is a capture, and what must not be in it.
type captured struct {
	*server
	app     *softphone.Phone
	iphone  *apnssim.Device
	account softphone.Account
	pbx     *softphone.Phone

	mu      sync.Mutex
	secrets []string
}

// captureVariant is how the app's leg speaks and what is captured.
type captureVariant struct {
	secure  bool // TLS and SRTP
	capture config.Capture
}

// secretValues finds what is secret in a message of an app.
var secretValues = regexp.MustCompile(`(?:response="|cnonce="|inline:|pn-prid=)([^"|\s;:&>]+)`)

// startCaptured runs a server that captures, and an app that can be woken.
func startCaptured(t *testing.T, v captureVariant) *captured {
	t.Helper()
	needPrograms(t, map[string]string{"tshark": "tshark"})
	ca, cert, key := certificate(t)
	c := &captured{}
	var port int
	c.pbx, port = pbx(t, 440)
	c.server = start(t, func(cfg *config.Config) {
		trunkAt(port)(cfg)
		cfg.Listen = append(cfg.Listen, config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort(serverHost + ":0"), CertFile: cert, KeyFile: key})
		cfg.Capture.Calls, cfg.Capture.Packets, cfg.Capture.Decrypt = v.capture.Calls, v.capture.Packets, v.capture.Decrypt
	})
	cfg := softphone.Config{AOR: sipua.NewAOR("alice", daemon.DevDomain), Password: "secret", Dial: dialer(t, ca), Tap: c.saw}
	if v.secure {
		cfg.Audio.Security = softphone.SRTPOffered
	}
	c.app = phone(t, cfg, phoneHost, softphone.Tone(620))
	c.iphone = c.apns.NewDevice("iphone")
	if err := c.iphone.UseEnvironment(apnssim.Production); err != nil {
		t.Fatal(err)
	}
	tokens := []string{c.iphone.RegisterVoIP(daemon.DevBundle), c.iphone.RegisterAlert(daemon.DevBundle)}
	c.account = account(c.server, tokens[0], tokens[1])
	if v.secure {
		c.account.Transport, c.account.Server = sipua.TLS, softphone.At(c.Addr(sipua.TLS))
	}
	c.secrets = tokens
	return c
}

// dialer opens streams from phoneHost, as a client of TLS that trusts ca.
func dialer(t *testing.T, ca string) func(context.Context, sipua.Transport, sipua.Destination) (net.Conn, error) {
	t.Helper()
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return func(ctx context.Context, transport sipua.Transport, to sipua.Destination) (net.Conn, error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(phoneHost + ":0"))}
		conn, err := d.DialContext(ctx, "tcp", to.Addr.String())
		if err != nil || transport != sipua.TLS {
			return conn, err
		}
		secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "localhost"})
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return secure, nil
	}
}

func (c *captured) saw(m sipua.Traffic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, found := range secretValues.FindAllSubmatch(m.Raw, -1) {
		c.secrets = append(c.secrets, string(found[1]))
	}
}

// woken lets the PBX call the sleeping app, both speak, and the PBX hang up.
func (c *captured) woken(t *testing.T) bridge.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	reg, registered, err := c.app.RegisterAndWait(ctx, c.account)
	if err != nil {
		t.Fatal(err)
	}
	reg.Close()
	c.app.Disconnect(registered.Flow)
	out := dial(t, c.server, c.pbx, "201")
	select {
	case <-c.iphone.Deliveries():
	case <-ctx.Done():
		t.Fatal("no push came")
	}
	if _, _, err := c.app.RegisterAndWait(ctx, c.account); err != nil {
		t.Fatal(err)
	}
	in, err := c.app.Accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Ring(); err != nil {
		t.Fatal(err)
	}
	if err := in.Answer(); err != nil {
		t.Fatal(err)
	}
	hears(t, "the caller", out, 620)
	hears(t, "the phone", in, 440)
	if err := out.Hangup(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Ended(ctx); err != nil {
		t.Fatal(err)
	}
	return c.record(t, 0)
}

// fetch gets the capture of a call over HTTP once the call's last words are in it.
func (c *captured) fetch(t *testing.T, id string) string {
	t.Helper()
	wait(t, 10*time.Second, "the capture to be finished", func() (bool, string) {
		_, err := os.Stat(filepath.Join(c.cfg.Node.DataDir, "captures", id+".pcapng"))
		return err == nil, fmt.Sprint(err)
	})
	var got bytes.Buffer
	if err := (api.Client{Server: "http://" + c.HTTPAddr().String()}).Capture(t.Context(), id, &got); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range c.secrets {
		if bytes.Contains(got.Bytes(), []byte(secret)) {
			t.Errorf("the capture holds %q", secret)
		}
	}
	file := filepath.Join(t.TempDir(), "call.pcapng")
	if err := os.WriteFile(file, got.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tshark reads a file and gives its output by lines.
func tshark(t *testing.T, file string, args ...string) []string {
	t.Helper()
	var complaint bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "tshark", append([]string{"-n", "-r", file}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_CONFIG_HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark %s: %v: %s", args, err, complaint.String())
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
}

// fields are tshark's values of some fields, of each packet that a filter takes.
func fields(t *testing.T, file, filter string, names ...string) [][]string {
	t.Helper()
	args := []string{"-Y", filter, "-T", "fields", "-E", "separator=/t"}
	for _, n := range names {
		args = append(args, "-e", n)
	}
	var out [][]string
	for _, line := range tshark(t, file, args...) {
		if line != "" {
			out = append(out, strings.Split(line, "\t"))
		}
	}
	return out
}

func TestCaptureOfAWokenCall(t *testing.T) {
	for name, v := range map[string]captureVariant{
		"headers":        {capture: config.Capture{Calls: "all", Packets: "headers"}},
		"SRTP headers":   {secure: true, capture: config.Capture{Calls: "all", Packets: "headers"}},
		"SRTP as it is":  {secure: true, capture: config.Capture{Calls: "all", Packets: "all"}},
		"SRTP decrypted": {secure: true, capture: config.Capture{Calls: "all", Packets: "all", Decrypt: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCaptured(t, v)
			r := c.woken(t)
			file := c.fetch(t, r.ID)
			c.checkSIP(t, file, r)
			c.checkComments(t, file)
			v.checkRTP(t, file, r)
			// Of an SRTP packet that came too early there is the header only.
			if bad := fields(t, file, "(_ws.malformed || _ws.expert.severity == error) && !(frame.comment contains refused)", "frame.number", "_ws.expert.message"); len(bad) > 0 {
				t.Errorf("tshark complains: %v", bad)
			}
		})
	}
}

// checkSIP looks for the dialogs of both legs, whole and in order.
func (c *captured) checkSIP(t *testing.T, file string, r bridge.Record) {
	t.Helper()
	legs := map[string][]string{}
	for _, m := range fields(t, file, "sip", "sip.Call-ID", "sip.Method", "sip.Status-Code", "sip.CSeq.method", "ip.src", "ip.dst") {
		legs[m[0]] = append(legs[m[0]], strings.Join(strings.Fields(m[1]+" "+m[2]+" "+m[3]), " "))
		hosts := []string{m[4], m[5]}
		if !slices.Contains(hosts, serverHost) || !slices.Contains(hosts, phoneHost) && !slices.Contains(hosts, trunkHost) {
			t.Errorf("%v", m)
		}
	}
	if len(legs) != 2 {
		t.Fatalf("%d dialogs: %v", len(legs), legs)
	}
	for id, messages := range legs {
		// No 100 from the phone, and none to the caller where the 180 is as fast.
		got := slices.DeleteFunc(slices.Compact(messages), func(m string) bool { return m == "100 INVITE" })
		want := []string{"INVITE INVITE", "180 INVITE", "200 INVITE", "ACK ACK", "BYE BYE", "200 BYE"}
		if !slices.Equal(got, want) {
			t.Errorf("leg %s: %v", id, got)
		}
	}
}

// checkComments looks for what became of the push: accepted, or needed no more where the
// phone was faster than the answer.
func (c *captured) checkComments(t *testing.T, file string) {
	t.Helper()
	var all []string
	for _, m := range fields(t, file, "frame.comment && syslog", "frame.comment") {
		all = append(all, m[0])
	}
	text := strings.Join(all, "\n")
	token := c.secrets[0]
	for _, want := range []string{"APNs (production)", "environment production", "service apns", "token …" + token[len(token)-4:], "call over: answered, 200"} {
		if !strings.Contains(text, want) {
			t.Errorf("no comment has %q: %s", want, text)
		}
	}
}

// checkRTP looks for the four streams: each leg's, in and out.
func (v captureVariant) checkRTP(t *testing.T, file string, r bridge.Record) {
	t.Helper()
	streams := map[string]string{}
	for _, line := range tshark(t, file, "-q", "-z", "rtp,streams") {
		// Start End Src port Dst port SSRC payload packets lost (share) ...
		f := strings.Fields(line)
		if len(f) < 10 || !strings.Contains(f[2], "127.0.0.") {
			continue
		}
		n, err := strconv.Atoi(f[8])
		if err != nil || n < 25 || f[9] != "0" {
			t.Errorf("stream %s", line)
		}
		streams[f[2]+" "+f[4]] = line
	}
	for _, way := range []string{trunkHost + " " + serverHost, serverHost + " " + phoneHost, phoneHost + " " + serverHost, serverHost + " " + trunkHost} {
		if streams[way] == "" {
			t.Errorf("no stream %s in %v", way, streams)
		}
	}
	if len(r.Media) != 2 || (r.Media[1].Crypto != "") != v.secure {
		t.Errorf("%+v", r.Media)
	}
	legs := map[bool][]string{}
	for _, p := range fields(t, file, "rtp && (ip.src == "+trunkHost+" || ip.dst == "+phoneHost+") && !(frame.comment contains refused)", "ip.src", "frame.cap_len", "rtp.payload", "srtp.enc_payload") {
		legs[p[0] == trunkHost] = append(legs[p[0] == trunkHost], p[2]+p[3])
		if v.capture.Packets == "headers" && p[1] != strconv.Itoa(14+20+8+12) {
			t.Fatalf("a packet of %s octets", p[1])
		}
	}
	if v.capture.Packets == "headers" {
		return
	}
	if len(legs[true]) < 25 || legs[true][0] == "" {
		t.Fatal("no sound is captured")
	}
	same := 0
	for _, payload := range legs[true] {
		if slices.Contains(legs[false], payload) {
			same++
		}
	}
	if v.capture.Decrypt && same < 20 || !v.capture.Decrypt && same > 0 {
		t.Errorf("%d packets of the phone's leg hold what the trunk sent, of %d", same, len(legs[true]))
	}
}
