package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"

	"wakebridge/bridge/quality"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/sipua"
)

// Two Linphones talk, one by SRTP, one without, until each has answered the other's
// reports: the record knows how far away both are, what they heard and what it
// sounded like, and has nothing to complain about.
func TestLinphonesAreMeasured(t *testing.T) {
	t.Parallel()
	needPrograms(t, map[string]string{"linphonec": "linphone-cli", "espeak-ng": "espeak-ng", "sox": "sox"})
	ca, cert, key := certificate(t)
	s := start(t, func(c *config.Config) {
		c.Listen = append(c.Listen, config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort(serverHost + ":0"), CertFile: cert, KeyFile: key})
	})
	phone := func(user string, transport sipua.Transport, encryption, instance string) *linphone {
		l := newLinphone(t, linphoneAccount{
			Server: fmt.Sprintf("localhost:%d;transport=%s", s.port(transport), transport.Param()), Domain: daemon.DevDomain, User: user,
			Instance: "5f0f5b1c-0000-4000-8000-" + instance, RootCA: ca, Encryption: encryption,
		}, speak(t, "en-us", "One, two, three, four, five, six, seven."))
		l.wake(t)
		l.logged(t, "to [LinphoneRegistrationOk]")
		return l
	}
	alice, bob := phone("alice", sipua.TLS, "srtp", "000000000001"), phone("bob", sipua.TCP, "none", "000000000002")
	bob.do(t, fmt.Sprintf("call sip:201@%s", daemon.DevDomain))
	alice.logged(t, "to LinphoneCallIncomingReceived")
	alice.do(t, "answer")
	for _, l := range []*linphone{alice, bob} {
		l.logged(t, "to LinphoneCallStreamsRunning")
	}
	wait(t, 60*time.Second, "each phone's third report", func() (bool, string) {
		n := counted(t, s, `wakebridge_media_packets_total\{direction="in",kind="rtcp"\}`)
		return n >= 8, fmt.Sprint(n, " reports passed")
	})
	bob.do(t, "terminate")
	r := s.record(t, 0)
	if len(r.Media) != 2 || len(r.Audio) != 0 {
		t.Fatalf("%d legs, %q", len(r.Media), r.Audio)
	}
	if r.Media[0].Crypto != "" || r.Media[1].Crypto == "" {
		t.Errorf("suites %q and %q", r.Media[0].Crypto, r.Media[1].Crypto)
	}
	for _, m := range r.Media {
		checkMeasured(t, m)
	}
}

// checkMeasured checks a leg on loopback: near, and hardly disturbed.
func checkMeasured(t *testing.T, m quality.Leg) {
	t.Helper()
	x := m.Streams[0]
	t.Logf("leg %s: %s, MOS %.2f sent, %.2f heard, %d reports, %+v, jitter %s", m.Leg, x.Codec, x.MOSSent, x.MOSHeard, x.Heard.Reports, x.RoundTrip, x.JitterMean)
	if x.RoundTrip.Samples == 0 || x.RoundTrip.Mean > time.Second || x.RoundTrip.Mean < 0 {
		t.Errorf("leg %s: round trip %+v", m.Leg, x.RoundTrip)
	}
	if x.Heard.Reports == 0 || x.Heard.Lost > x.Sent.Packets/10 {
		t.Errorf("leg %s heard %+v of %d", m.Leg, x.Heard, x.Sent.Packets)
	}
	if x.Codec == "" || x.MOSSent < 3 || x.MOSSent > 4.41 || x.MOSHeard < 3 || x.MOSHeard > 4.41 {
		t.Errorf("leg %s: %s, MOS %.2f and %.2f", m.Leg, x.Codec, x.MOSSent, x.MOSHeard)
	}
}

// counted is the value of a metric, 0 if the server does not have it.
func counted(t *testing.T, s *server, pattern string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/metrics", s.HTTPAddr()), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + pattern + ` (\d+)$`).FindSubmatch(body)
	if found == nil {
		return 0
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
