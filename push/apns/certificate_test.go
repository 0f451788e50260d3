package apns_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"software.sslmate.com/src/go-pkcs12"

	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/sipua/memnet"
)

const p12Password = "correct horse battery staple"

// issued is a client certificate with its key.
type issued struct {
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate for topics, good for so long from now. env adds
// Apple's mark of one environment.
func issue(t testing.TB, good time.Duration, env push.Environment, topics ...string) issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	arc := func(n int) asn1.ObjectIdentifier {
		return asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 6, 3, n}
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "push"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(good).Truncate(time.Second),
	}
	if len(topics) > 0 {
		var list []asn1.RawValue
		for _, topic := range topics {
			list = append(list, asn1.RawValue{Tag: asn1.TagUTF8String, Bytes: []byte(topic)},
				asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte{asn1.TagUTF8String, 3, 'a', 'p', 'p'}})
		}
		der, err := asn1.Marshal(list)
		must(t, err)
		template.ExtraExtensions = []pkix.Extension{{Id: arc(6), Value: der}}
	}
	for n, e := range map[int]push.Environment{1: push.Sandbox, 2: push.Production} {
		if env == e {
			template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: arc(n), Value: asn1.NullBytes})
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	return issued{leaf, key}
}

func (i issued) p12(t testing.TB, e *pkcs12.Encoder, password string) []byte {
	t.Helper()
	data, err := e.Encode(i.key, i.leaf, nil, password)
	must(t, err)
	return data
}

func (i issued) pem(t testing.TB) []byte {
	t.Helper()
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.leaf.Raw}), pkcs8(t, i.key)...)
}

func (i issued) certificate(t testing.TB) apns.Certificate {
	t.Helper()
	c, err := apns.ParseCertificate(i.pem(t), "")
	must(t, err)
	return c
}

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

// certApple is an APNs that knows clients by their certificates alone, as the
// one before there were keys.
type certApple struct {
	mu       sync.Mutex
	revoked  map[string]bool // by serial number
	requests []certRequest
}

// certRequest is a request as it came.
type certRequest struct {
	host, serial, topic, pushType, token string
	authorization                        bool
	conn                                 string
}

func serialOf(c *x509.Certificate) string { return c.SerialNumber.String() }

func (a *certApple) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, authorization := r.Header["Authorization"]
	a.mu.Lock()
	a.requests = append(a.requests, certRequest{r.Host, serialOf(r.TLS.PeerCertificates[0]), r.Header.Get("apns-topic"),
		r.Header.Get("apns-push-type"), r.URL.Path, authorization, r.RemoteAddr})
	revoked := a.revoked[serialOf(r.TLS.PeerCertificates[0])]
	a.mu.Unlock()
	if revoked {
		w.WriteHeader(http.StatusForbidden)
		_, err := io.WriteString(w, `{"reason":"BadCertificate"}`)
		if err != nil {
			return
		}
	}
}

func (a *certApple) seen() []certRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.requests
}

// refuse is the check of a TLS handshake: a certificate that is not valid now,
// or revoked under the name "tls".
func (a *certApple) refuse(raw [][]byte, _ [][]*x509.Certificate) error {
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.revoked["tls "+serialOf(leaf)] {
		return errors.New("revoked")
	}
	return nil
}

func (a *certApple) revoke(name string, revoked bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revoked[name] = revoked
}

// certWorld is that Apple on a network in memory, and the app's files.
type certWorld struct {
	*certApple
	*world
	folder string
}

// inCertWorld runs test in a bubble. app gets its credentials from setup.
func inCertWorld(t *testing.T, setup func(*certWorld, *apns.App), test func(*testing.T, *certWorld)) {
	t.Helper()
	t.Parallel()
	folder := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &certWorld{folder: folder, certApple: &certApple{revoked: make(map[string]bool)}}
		w.world = &world{t: t, network: memnet.New(memnet.Options{}), apple: netip.MustParseAddr("17.0.0.1"), log: &journal{}, metrics: prometheus.NewRegistry()}
		t.Cleanup(func() { must(t, w.network.Close()) })
		w.network.ImpairBoth(w.apple, netip.MustParseAddr("10.0.0.1"), memnet.Impairment{Delay: 20 * time.Millisecond})
		w.serve(w.listen(443), w.listen(2197))
		app := apns.App{BundleID: bundle, TeamID: team}
		setup(w, &app)
		w.config.Dial, w.config.Metrics, w.config.Apps = w.dial, w.metrics, []apns.App{app}
		w.config.Log = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		w.start()
		test(t, w)
	})
}

func (w *certWorld) serve(listeners ...net.Listener) {
	t := w.t
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	own := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(1000 * time.Hour * 24), IPAddresses: []net.IP{w.apple.AsSlice()}}
	der, err := x509.CreateCertificate(rand.Reader, own, own, key.Public(), key)
	must(t, err)
	own, err = x509.ParseCertificate(der)
	must(t, err)
	w.config.RootCAs = x509.NewCertPool()
	w.config.RootCAs.AddCert(own)
	w.config.Production, w.config.Sandbox = "https://17.0.0.1:443", "https://17.0.0.1:2197"
	server := &http.Server{Handler: w.certApple, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAnyClientCert, VerifyPeerCertificate: w.refuse,
	}}
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { must(t, server.Close()); running.Wait() })
}

// write puts a file into the app's folder.
func (w *certWorld) write(name string, data []byte) string {
	w.t.Helper()
	path := filepath.Join(w.folder, name)
	must(w.t, os.WriteFile(path, data, 0o600))
	return path
}

// load writes a certificate as .p12 with a password and loads it.
func (w *certWorld) load(name string, i issued) apns.Certificate {
	w.t.Helper()
	c, err := apns.LoadCertificate(w.write(name+".p12", i.p12(w.t, pkcs12.Modern, p12Password)), w.write(name+".password", []byte(p12Password+"\n")))
	must(w.t, err)
	return c
}

func (w *certWorld) pushKind(d push.Device) push.Result {
	w.t.Helper()
	d.App = push.App{BundleID: bundle, TeamID: team}
	req := w.request()
	req.Device = d
	mux, err := push.NewMux(w.service.Routes()...)
	must(w.t, err)
	delivery, err := push.NewDelivery(push.Config{Mux: mux})
	must(w.t, err)
	return delivery.Deliver(w.t.Context(), req)
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
