package apns_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"software.sslmate.com/src/go-pkcs12"

	"wakebridge/push"
	"wakebridge/push/apns"
)

func TestParseCertificate(t *testing.T) {
	t.Parallel()
	one := issue(t, time.Hour, push.Sandbox, bundle, bundle+".voip")
	ca := issue(t, time.Hour, push.Auto)
	chain, err := pkcs12.Modern.Encode(one.key, one.leaf, []*x509.Certificate{ca.leaf}, p12Password)
	must(t, err)
	for name, c := range map[string]struct {
		data     []byte
		password string
	}{
		"PBES2 (OpenSSL 3)": {one.p12(t, pkcs12.Modern2023, p12Password), p12Password},
		"PBMAC1":            {one.p12(t, pkcs12.Modern2026, p12Password), p12Password},
		"3DES":              {one.p12(t, pkcs12.LegacyDES, p12Password), p12Password},
		"RC2 (Keychain)":    {one.p12(t, pkcs12.LegacyRC2, p12Password), p12Password},
		"no password":       {one.p12(t, pkcs12.Modern, ""), ""},
		"with its CA":       {chain, p12Password},
		"PEM":               {one.pem(t), ""},
	} {
		got, err := apns.ParseCertificate(c.data, c.password)
		if err != nil || got.Environment != push.Sandbox || !got.NotAfter().Equal(one.leaf.NotAfter) || got.IsZero() ||
			!got.Covers(bundle) || !got.Covers(bundle+".voip") || got.Covers("com.example.other") {
			t.Errorf("%s: %+v, %v", name, got.Topics, err)
		}
	}
	uid := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: bundle + ".voip"}}}}
	der, err := x509.CreateCertificate(rand.Reader, uid, uid, one.key.Public(), one.key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	if got := (issued{leaf, one.key}).certificate(t); !got.Covers(bundle+".voip") || got.Covers(bundle) || got.Environment != push.Auto {
		t.Errorf("topic of the subject: %v", got.Topics)
	}
	bad := map[string]struct {
		data     []byte
		password string
	}{
		"wrong password": {one.p12(t, pkcs12.Modern, p12Password), "guess"},
		"foreign key":    {issued{one.leaf, ca.key}.p12(t, pkcs12.Modern, ""), ""},
		"foreign PEM":    {issued{one.leaf, ca.key}.pem(t), ""},
		"PEM, password":  {one.pem(t), p12Password},
		"encrypted PEM":  {append(one.pem(t), "-----BEGIN ENCRYPTED PRIVATE KEY-----"...), ""},
		"nonsense":       {[]byte(p12Password), p12Password},
		"empty":          {nil, ""},
	}
	for name, c := range bad {
		if _, err := apns.ParseCertificate(c.data, c.password); !errors.Is(err, apns.ErrBadCertificate) || strings.Contains(err.Error(), p12Password) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", one.certificate(t), one.certificate(t), one.certificate(t)); len(text) > 100 {
		t.Errorf("prints as %s", text)
	}
}

const otherToken = push.DeviceToken("aabbccddeeff00112233445566778899")

// TestTwoCertificatesTwoTokens is the founding article: a PushKit push where
// both certificate and token are there, else the ordinary push, else nothing,
// and the caller hears of it at once.
func TestTwoCertificatesTwoTokens(t *testing.T) {
	both := push.Device{VoIP: fresh, Alert: otherToken}
	tests := []struct {
		name        string
		voip, alert bool
		device      push.Device
		kind        push.Kind
		why         push.Reason
	}{
		{"both and both", true, true, both, push.VoIP, ""},
		{"no CallKit", true, true, push.Device{Alert: otherToken}, push.Alert, ""},
		{"no PushKit certificate", false, true, both, push.Alert, ""},
		{"PushKit certificate only", true, false, both, push.VoIP, ""},
		{"PushKit certificate, alert token", true, false, push.Device{Alert: otherToken}, push.Alert, push.NoCredential},
		{"ordinary certificate, PushKit token", false, true, push.Device{VoIP: fresh}, push.VoIP, push.NoCredential},
		{"no token", true, true, push.Device{}, push.Alert, push.NoToken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var voip, alert issued
			inCertWorld(t, func(w *certWorld, app *apns.App) {
				voip, alert = issue(t, time.Hour*24*365, push.Auto, bundle+".voip"), issue(t, time.Hour*24*365, push.Auto, bundle)
				if tt.voip {
					app.VoIP = w.load("voip", voip)
				}
				if tt.alert {
					app.Alert = w.load("alert", alert)
				}
			}, func(t *testing.T, w *certWorld) {
				start := time.Now()
				r := w.pushKind(tt.device)
				if tt.why != "" {
					if r.Outcome != push.Refused || r.Reason != tt.why || r.Kind != tt.kind || time.Since(start) != 0 || r.Text == "" || len(w.seen()) != 0 {
						t.Errorf("%+v after %v", r, time.Since(start))
					}
					return
				}
				accepted(t, r)
				want := certRequest{host: "17.0.0.1:443", serial: serialOf(voip.leaf), topic: bundle + ".voip", pushType: "voip", token: "/3/device/" + fresh.Secret()}
				if tt.kind == push.Alert {
					want.serial, want.topic, want.pushType, want.token = serialOf(alert.leaf), bundle, "alert", "/3/device/"+otherToken.Secret()
				}
				got := w.seen()
				want.conn = got[0].conn
				if len(got) != 1 || got[0] != want {
					t.Errorf("Apple saw %+v, want %+v", got, want)
				}
			})
		})
	}
}

// TestOneConnectionPerCertificate: the two certificates never share one, and
// each has its two warm lines.
func TestOneConnectionPerCertificate(t *testing.T) {
	inCertWorld(t, func(w *certWorld, app *apns.App) {
		app.Environment = push.Production
		app.VoIP = w.load("voip", issue(t, time.Hour*24*365, push.Auto, bundle+".voip"))
		app.Alert = w.load("alert", issue(t, time.Hour*24*365, push.Auto, bundle))
	}, func(t *testing.T, w *certWorld) {
		for range 3 {
			accepted(t, w.pushKind(push.Device{VoIP: fresh}))
			accepted(t, w.pushKind(push.Device{Alert: otherToken}))
		}
		byConn := map[string]string{}
		for _, r := range w.seen() {
			if was, ok := byConn[r.conn]; ok && was != r.serial {
				t.Errorf("connection %s has two certificates", r.conn)
			}
			byConn[r.conn] = r.serial
		}
		if len(byConn) != 2 || w.counter("wakebridge_apns_dials_total") != 4 {
			t.Errorf("%d connections used, %v dialled", len(byConn), w.counter("wakebridge_apns_dials_total"))
		}
	})
}

// TestKeysWin: where a key serves an environment the certificates are not used,
// elsewhere they are.
func TestKeysWin(t *testing.T) {
	inCertWorld(t, func(w *certWorld, app *apns.App) {
		key := anyKey(t)
		key.Environment = push.Sandbox
		app.Keys = []apns.Key{key}
		app.VoIP = w.load("voip", issue(t, time.Hour*24*365, push.Production, bundle+".voip"))
	}, func(t *testing.T, w *certWorld) {
		accepted(t, w.pushKind(push.Device{VoIP: fresh, Environment: push.Production}))
		if got := w.seen(); got[0].authorization || got[0].host != "17.0.0.1:443" {
			t.Errorf("%+v", got)
		}
		// The sandbox line has no certificate, which this Apple refuses: it tried
		// with the key alone.
		if r := w.pushKind(push.Device{VoIP: fresh, Environment: push.Sandbox}); r.Outcome == push.Accepted || len(w.seen()) != 1 {
			t.Errorf("%+v, %d requests", r, len(w.seen()))
		}
	})
}

// TestRefusedCertificateRests: by an answer or, as TLS has it, in its place.
func TestRefusedCertificateRests(t *testing.T) {
	for _, prefix := range []string{"", "tls "} {
		t.Run("by "+prefix, func(t *testing.T) {
			var one issued
			inCertWorld(t, func(w *certWorld, app *apns.App) {
				app.Environment = push.Production
				one = issue(t, time.Hour*24*365, push.Auto, bundle+".voip")
				if prefix != "" {
					w.revoke(prefix+serialOf(one.leaf), true)
				}
				app.VoIP = w.load("voip", one)
			}, func(t *testing.T, w *certWorld) {
				w.revoke(prefix+serialOf(one.leaf), true)
				r := w.pushKind(push.Device{VoIP: fresh})
				if r.Outcome != push.Refused || !strings.Contains(r.Text, "refused the certificate") {
					t.Errorf("%+v", r)
				}
				start := time.Now()
				if r = w.pushKind(push.Device{VoIP: fresh}); r.Reason != push.BrokenCredential || r.Tries != 0 || time.Since(start) != 0 {
					t.Errorf("the next: %+v", r)
				}
				if got := w.gauge("wakebridge_apns_credential_broken", map[string]string{"credential": "voip.p12", "topic": ""}); got != 1 {
					t.Errorf("metric %v", got)
				}
				w.revoke(prefix+serialOf(one.leaf), false)
				time.Sleep(6 * time.Minute)
				accepted(t, w.pushKind(push.Device{VoIP: fresh}))
			})
		})
	}
}

// TestCertificateIsReadAgain: a new file is in use within a minute and mends a
// broken credential; one that cannot be used leaves the old one.
func TestCertificateIsReadAgain(t *testing.T) {
	var one, two issued
	inCertWorld(t, func(w *certWorld, app *apns.App) {
		app.Environment = push.Production
		one, two = issue(t, time.Hour*24*365, push.Auto, bundle+".voip"), issue(t, time.Hour*24*400, push.Auto, bundle+".voip")
		app.VoIP = w.load("voip", one)
	}, func(t *testing.T, w *certWorld) {
		use := func(want issued, when string) {
			t.Helper()
			accepted(t, w.pushKind(push.Device{VoIP: fresh}))
			if got := w.seen(); got[len(got)-1].serial != serialOf(want.leaf) {
				t.Errorf("%s: another certificate is in use", when)
			}
		}
		expiry := func(want issued) {
			t.Helper()
			got := w.gauge("wakebridge_push_certificate_expiry_timestamp_seconds", map[string]string{"app": bundle, "kind": "voip"})
			if got != float64(want.leaf.NotAfter.Unix()) {
				t.Errorf("expiry %v, want %v", got, want.leaf.NotAfter.Unix())
			}
		}
		use(one, "at first")
		expiry(one)
		for name, data := range map[string][]byte{
			"half a file":    two.p12(t, pkcs12.Modern, p12Password)[:100],
			"wrong password": two.p12(t, pkcs12.Modern, "another"),
			"other topic":    issue(t, time.Hour*24*365, push.Auto, bundle).p12(t, pkcs12.Modern, p12Password),
			"expired":        issue(t, -time.Hour, push.Auto, bundle+".voip").p12(t, pkcs12.Modern, p12Password),
			"environment":    issue(t, time.Hour*24*365, push.Sandbox, bundle+".voip").p12(t, pkcs12.Modern, p12Password),
		} {
			before := strings.Count(w.log.String(), "the old one stays")
			w.write("voip.p12", data)
			time.Sleep(2 * time.Minute)
			if got := strings.Count(w.log.String(), "the old one stays"); got != before+1 {
				t.Errorf("%s: told %d times", name, got-before)
			}
			use(one, name)
		}
		w.revoke(serialOf(one.leaf), true)
		w.pushKind(push.Device{VoIP: fresh})
		w.write("voip.p12", two.p12(t, pkcs12.Modern, p12Password))
		time.Sleep(31 * time.Second)
		use(two, "after the renewal")
		expiry(two)
		if !strings.Contains(w.log.String(), "a credential's file changed and is in use") || strings.Contains(w.log.String(), p12Password) {
			t.Errorf("log: %s", w.log)
		}
		time.Sleep(time.Minute)
		if got := w.counter("wakebridge_apns_dials_total"); got != 4 {
			t.Errorf("%v dials for two certificates", got)
		}
	})
}

// TestExpiredCertificateIsNone: it is told of in time, and the alert push takes
// over.
func TestExpiredCertificateIsNone(t *testing.T) {
	inCertWorld(t, func(w *certWorld, app *apns.App) {
		app.Environment = push.Production
		app.VoIP = w.load("voip", issue(t, time.Hour, push.Auto, bundle+".voip"))
		app.Alert = w.load("alert", issue(t, time.Hour*24*365, push.Auto, bundle))
	}, func(t *testing.T, w *certWorld) {
		r := w.pushKind(push.Device{VoIP: fresh, Alert: otherToken})
		accepted(t, r)
		if got := strings.Count(w.log.String(), "expires soon"); r.Kind != push.VoIP || got != 1 {
			t.Errorf("in the last hour: told %d times, %+v", got, r)
		}
		time.Sleep(time.Hour)
		if got := strings.Count(w.log.String(), "has expired"); got != 1 {
			t.Errorf("the end was told %d times", got)
		}
		r = w.pushKind(push.Device{VoIP: fresh, Alert: otherToken})
		accepted(t, r)
		if r.Kind != push.Alert {
			t.Errorf("after the end: %+v", r)
		}
		if r = w.pushKind(push.Device{VoIP: fresh}); r.Reason != push.NoCredential {
			t.Errorf("without alert token: %+v", r)
		}
	})
}

// TestExpiredCertificateAtTheStart: it is told of at once, and what else the app
// has is used from the first push on.
func TestExpiredCertificateAtTheStart(t *testing.T) {
	inCertWorld(t, func(w *certWorld, app *apns.App) {
		app.VoIP = w.load("voip", issue(t, -time.Hour, push.Auto, bundle+".voip"))
		app.Alert = w.load("alert", issue(t, time.Hour*24*365, push.Auto, bundle))
	}, func(t *testing.T, w *certWorld) {
		time.Sleep(time.Minute)
		if got := strings.Count(w.log.String(), "has expired"); got != 1 {
			t.Errorf("the end was told %d times", got)
		}
		r := w.pushKind(push.Device{VoIP: fresh, Alert: otherToken})
		accepted(t, r)
		if r.Kind != push.Alert {
			t.Errorf("%+v", r)
		}
	})
}

// TestKeyFileIsReadAgain: a revoked key is replaced without a restart.
func TestKeyFileIsReadAgain(t *testing.T) {
	folder := t.TempDir()
	inWorld(t, nil, func(t *testing.T, w *world) {
		must(t, w.service.Close())
		p8, err := w.GenerateKey(team, keyID)
		must(t, err)
		path := filepath.Join(folder, "AuthKey.p8")
		must(t, os.WriteFile(path, p8, 0o600))
		key, err := apns.LoadKey(path, keyID)
		must(t, err)
		w.metrics = prometheus.NewRegistry()
		w.config.Metrics, w.config.Apps[0].Keys = w.metrics, []apns.Key{key}
		w.start()
		accepted(t, w.push())
		fresh, err := w.GenerateKey(team, keyID) // Apple knows another one by that id now
		must(t, err)
		if r := w.push(); r.Reason != "InvalidProviderToken" {
			t.Errorf("%+v", r)
		}
		must(t, os.WriteFile(path, append(fresh, '\n'), 0o600))
		time.Sleep(31 * time.Second)
		r := w.sender.Send(t.Context(), push.Target{Token: w.voip, Environment: push.Production}, call(uuid.NewString()))
		accepted(t, r)
		if w.broken("") != 0 {
			t.Error("still broken")
		}
		must(t, os.Chmod(path, 0o644)) // from now on anybody may read it
		time.Sleep(31 * time.Second)
		if !strings.Contains(w.log.String(), "chmod 600") {
			t.Errorf("nobody was told: %s", w.log)
		}
		accepted(t, w.push())
	})
}

func TestNewNamesFaultsOfCertificates(t *testing.T) {
	t.Parallel()
	voip, plain := issue(t, time.Hour, push.Auto, bundle+".voip").certificate(t), issue(t, time.Hour, push.Sandbox, bundle).certificate(t)
	for want, app := range map[string]apns.App{
		"not for the topic " + bundle + ".voip": {VoIP: plain},
		"not for the topic " + bundle:           {Alert: voip},
		"nor a certificate":                     {Alert: plain, Environment: push.Production},
		"no key and no certificate":             {},
	} {
		app.BundleID, app.TeamID = bundle, team
		if _, err := apns.New(apns.Config{Apps: []apns.App{app}}); !errors.Is(err, apns.ErrBadConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
}
