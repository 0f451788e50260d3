package apnssim_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wakebridge/push/apnssim"
)

// TestCurl is the contract with an HTTP/2 and a TLS that are not Go's (nghttp2,
// OpenSSL).
func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("curl is not installed")
	}
	if version, err := exec.Command(curl, "--version").Output(); err != nil || !strings.Contains(string(version), "HTTP2") {
		t.Skip("this curl has no HTTP/2")
	}
	b := newBench(t, apnssim.Config{})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, b.CAPEM(), 0o600))
	run := func(payload string) string {
		t.Helper()
		args := []string{
			"--silent", "--show-error", "--http2", "--max-time", "10", "--noproxy", "*", "--cacert", ca,
			"--write-out", " %{http_version} %{response_code}", "--data-binary", payload,
		}
		for name, values := range b.request(t.Context(), b.now(), nil).Header {
			args = append(args, "--header", name+": "+values[0])
		}
		out, err := exec.Command(curl, append(args, b.URL(apnssim.Production)+"/3/device/"+b.voip)...).CombinedOutput()
		if err != nil {
			t.Fatalf("curl: %v: %s", err, out)
		}
		return string(out)
	}
	if got := run(`{"aps":{}}`); got != " 2 200" {
		t.Errorf("good push: %q", got)
	}
	if v := next(t, b.device); string(v.Payload) != `{"aps":{}}` {
		t.Errorf("delivery %+v", v)
	}
	if got := run(object(5121)); got != `{"reason":"PayloadTooLarge"} 2 413` {
		t.Errorf("large push: %q", got)
	}
	if got := run(object(100_000)); !strings.HasSuffix(got, " 2 413") { // more than curl's first window
		t.Errorf("very large push: %q", got)
	}
	if e := b.Requests(apnssim.Filter{Status: http.StatusRequestEntityTooLarge}); len(e) != 2 || len(e[1].Payload) != 5121 {
		t.Errorf("journal %d", len(e))
	}
}
