package daemon

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/cmd/internal/api"
	"wakebridge/push/apnssim"
)

// expiredPEM is a certificate whose last day was 2020-05-01, with its key.
func expiredPEM(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Date(2019, 5, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2020, 5, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// byCertificate is a development set-up whose app has the key for the environments
// that key names ("": no key), and a VoIP certificate for those of cert.
func byCertificate(t *testing.T, key string, cert apnssim.Environment) (dev *Development, file string) {
	t.Helper()
	dev = development(t)
	issued, err := dev.APNs.IssueCertificate(DevTeam, DevBundle, apnssim.VoIP, cert)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "voip.pem")
	if err := os.WriteFile(file, issued.PEM, 0o600); err != nil {
		t.Fatal(err)
	}
	app := &dev.Config.Push.Apps[0]
	app.VoIPCertificate.File = file
	if app.Keys[0].Environment = key; key == "" {
		app.Keys = nil
	}
	return dev, file
}

func TestPushTestByCertificate(t *testing.T) {
	rewrite := func(text []byte) func(*testing.T, string) {
		return func(t *testing.T, file string) {
			t.Helper()
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	year := time.Now().UTC().AddDate(1, 0, 0).Format("good until 2006-")
	tests := []struct {
		name   string
		key    string
		cert   apnssim.Environment
		quiet  bool
		spoil  func(t *testing.T, file string)
		failed string
		has    []string
		hasNot string
	}{
		{name: "certificate alone", has: []string{"voip.pem", year, "none is needed", "accepted"}, hasNot: "keys "},
		{name: "of the sandbox alone", cert: apnssim.Sandbox, has: []string{"none is needed", "answered by sandbox"}},
		{name: "beside a key for the sandbox", key: "sandbox", cert: apnssim.Production, has: []string{"keys " + DevKey, "voip.pem", "none is needed"}},
		{name: "a key for both goes first", key: "auto", has: []string{"signed with key", year}, hasNot: "none is needed"},
		{name: "it is for VoIP pushes only", quiet: true, failed: "provider token", has: []string{"no credential for this kind", "no key and no certificate for alert pushes", "alert_certificate"}},
		{name: "broken since", spoil: rewrite([]byte("nothing")), failed: "configuration", has: []string{"voip_certificate must be"}},
		{name: "gone", spoil: func(t *testing.T, file string) {
			t.Helper()
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}, failed: "configuration", has: []string{"no such file"}},
		{name: "expired", spoil: rewrite(expiredPEM(t)), failed: "provider token", has: []string{"good until 2020-05-01: it has expired", "new certificate"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dev, file := byCertificate(t, tt.key, tt.cert)
			s := serveDevelopment(t, dev)
			phone := dev.APNs.NewDevice("phone")
			if tt.cert != "" {
				if err := phone.UseEnvironment(tt.cert); err != nil {
					t.Fatal(err)
				}
			}
			s.ask("PUT", devicePath(devPhone), announcement(phone.RegisterVoIP(DevBundle), phone.RegisterAlert(DevBundle)), nil)
			if tt.spoil != nil {
				tt.spoil(t, file)
			}
			var out api.PushOutcome
			if status := s.ask("POST", "/v1/push/test", api.PushRequest{User: "alice", VoIP: !tt.quiet}, &out); status != 200 || len(out.Reports) != 1 {
				t.Fatalf("%d %+v", status, out)
			}
			text, stages := fmt.Sprintf("%+v", out), out.Reports[0].Stages
			last := stages[len(stages)-1]
			if out.OK != (tt.failed == "") || last.OK != out.OK || tt.failed != "" && (last.Name != tt.failed || last.Cure == "") {
				t.Errorf("%s", text)
			}
			for _, want := range tt.has {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
			if tt.hasNot != "" && strings.Contains(text, tt.hasNot) {
				t.Errorf("%q in %s", tt.hasNot, text)
			}
		})
	}
}
