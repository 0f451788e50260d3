package push

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

const secret = DeviceToken("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

func TestDeviceTokenIsMaskedWhereverItIsPrinted(t *testing.T) {
	t.Parallel()
	device := Device{App: App{BundleID: "com.example.phone"}, VoIP: secret, Alert: secret}
	dead := Result{Dead: TokenDead{Kind: VoIP, Token: secret, Since: time.UnixMilli(1)}}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "token", secret, "device", device, "result", dead, "target", Target{Token: secret})
	}
	doc, err := json.Marshal([]any{device, dead, &device})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(doc)}
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%X"} {
		texts = append(texts, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, device), fmt.Sprintf(verb, &dead))
	}
	for _, text := range texts {
		low := strings.ToLower(text)
		if strings.Contains(low, "abcdef01") || strings.Contains(low, fmt.Sprintf("%x", "89abcdef")) {
			t.Errorf("token shown in %s", text)
		}
	}
	if got := secret.String(); got != "…cdef" {
		t.Errorf("masked form %q", got)
	}
	if got := DeviceToken("abcd").String(); got != "…" {
		t.Errorf("masked form of a short token %q", got)
	}
	if secret.Secret() != string(secret) {
		t.Error("Secret is not the token")
	}
}

func TestTokenDeadSparesLaterRegistration(t *testing.T) {
	t.Parallel()
	since := time.UnixMilli(1_700_000_000_500)
	dead := TokenDead{Kind: VoIP, Token: secret, Since: since}
	tests := []struct {
		name       string
		registered time.Time
		want       bool
	}{
		{"before", since.Add(-time.Millisecond), false},
		{"at that moment", since, false},
		{"after", since.Add(time.Millisecond), true},
	}
	for _, tt := range tests {
		if got := dead.Outlived(tt.registered); got != tt.want {
			t.Errorf("registered %s: outlived = %v", tt.name, got)
		}
	}
	if (TokenDead{}).IsZero() != true || dead.IsZero() {
		t.Error("IsZero")
	}
}
