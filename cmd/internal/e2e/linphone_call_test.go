package e2e

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/bridge/media/audio"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
)

// A PBX and a phone that we did not write talk through the server: SIPp calls,
// Linphone sleeps, the push starts it. The proof is that each side recorded what
// the other one said.
func TestLinphoneIsWoken(t *testing.T) {
	needPrograms(t, map[string]string{"sipp": "sip-tester", "linphonec": "linphone-cli", "espeak-ng": "espeak-ng", "sox": "sox"})
	anna := speak(t, "en-us", "Hello Alice, this is Anna. Did your telephone wake up?")
	alice := speak(t, "en-gb+f3", "Good morning. It was fast asleep in my pocket.")
	for name, v := range map[string]linphoneVariant{
		"TCP":          {transport: sipua.TCP, host: serverHost},
		"TLS":          {transport: sipua.TLS, host: "localhost"},
		"SRTP":         {transport: sipua.TLS, host: "localhost", encryption: "srtp"},
		"SRTP only":    {transport: sipua.TLS, host: "localhost", encryption: "srtp", mandatory: true},
		"double token": {transport: sipua.TCP, host: serverHost, double: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v.run(t, anna, alice)
		})
	}
}

// linphoneVariant is one way a Linphone registers.
type linphoneVariant struct {
	transport sipua.Transport
	host      string // by which it knows the server
	double    bool   // announces two tokens in one parameter and gets its own payload, as its iOS app does
	// encryption is its setting of that name, "" for none; mandatory: nothing else.
	encryption string
	mandatory  bool
}

func (v linphoneVariant) run(t *testing.T, anna, alice string) {
	ca, cert, key := certificate(t)
	s := start(t, func(c *config.Config) {
		c.Listen = append(c.Listen, config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort(serverHost + ":0"), CertFile: cert, KeyFile: key})
		if v.double {
			c.Push.Apps[0].Payload = "linphone"
		}
	})
	iphone := s.apns.NewDevice("iphone")
	if err := iphone.UseEnvironment(apnssim.Production); err != nil {
		t.Fatal(err)
	}
	l := newLinphone(t, linphoneAccount{
		Server:     fmt.Sprintf("%s:%d;transport=%s", v.host, s.port(v.transport), v.transport.Param()),
		Domain:     daemon.DevDomain,
		Push:       v.push(iphone),
		Instance:   "5f0f5b1c-0000-4000-8000-000000000001",
		RootCA:     ca,
		Encryption: cmp.Or(v.encryption, "none"), Mandatory: v.mandatory,
	}, alice)
	l.wake(t)
	l.logged(t, "to [LinphoneRegistrationOk]")
	scene := linphoneScene{server: s, phone: l, iphone: iphone, own: v.double, caller: readWAV(t, anna), callee: readWAV(t, alice)}
	for n := range 2 {
		scene.wokenCall(t, n)
	}
	for n := range 2 {
		v.checkCrypto(t, s.record(t, n))
	}
	if calls, pushes := s.recordCount(), iphone.Status().Received; calls != 2 || pushes != 2 {
		t.Errorf("%d records and %d pushes of 2 calls", calls, pushes)
	}
}

// checkCrypto checks that the phone's leg, and only that, was encrypted where keys
// may go: Linphone offers what its settings say, and answers whatever is offered.
func (v linphoneVariant) checkCrypto(t *testing.T, r bridge.Record) {
	t.Helper()
	if len(r.Media) != 2 || r.Media[0].Crypto != "" || (r.Media[1].Crypto != "") != (v.transport == sipua.TLS) {
		t.Errorf("record: %+v", r.Media)
		return
	}
	t.Logf("the phone's leg: %q", r.Media[1].Crypto)
}

// push are the parameters of RFC 8599 that it registers with.
func (v linphoneVariant) push(d *apnssim.Device) string {
	token := d.RegisterVoIP(daemon.DevBundle)
	param, prid := daemon.DevTeam+"."+daemon.DevBundle+".voip", token
	if v.double {
		param += "&remote"
		prid += ":voip&" + d.RegisterAlert(daemon.DevBundle) + ":remote"
	}
	return "pn-provider=apns;pn-prid=" + prid + ";pn-param=" + param
}

// linphoneScene is who takes part in the calls of a variant.
type linphoneScene struct {
	server         *server
	phone          *linphone
	iphone         *apnssim.Device // where the pushes for the phone come to
	caller, callee []int16         // what they say
	own            bool            // the payload is Linphone's own
}

// wokenCall puts the phone to sleep, calls it, and lets both sides speak. n counts
// the calls of the server from 0.
func (sc *linphoneScene) wokenCall(t *testing.T, n int) {
	t.Helper()
	l := sc.phone
	l.sleep(t)
	pbx := callWithSpeech(t, sc.server.Addr(sipua.UDP), "201", sc.caller)
	var push apnssim.Delivery
	select {
	case push = <-sc.iphone.Deliveries():
	case <-time.After(10 * time.Second):
		t.Fatal("no push came")
	}
	l.wake(t)
	if n == 0 {
		l.logged(t, "to LinphoneCallIncomingReceived")
		l.do(t, "answer")
	} else {
		l.do(t, "autoanswer enable")
	}
	pbx.answered(t)
	const margin = audio.SampleRate // what the phone's jitter buffer and its pauses take, and more
	wait(t, 20*time.Second, "both speeches to be over", func() (bool, string) {
		sent, heard := pbx.sound.sender.Sent(), pbx.sound.receiver.Received()
		over := sent.Octets > uint64(len(sc.caller)+margin) && len(pbx.sound.receiver.Samples()) > len(sc.callee)+margin
		return over, fmt.Sprintf("sent %+v, heard %+v", sent, heard)
	})
	pbx.hangUp(t)
	log := l.logged(t, "to LinphoneCallReleased")

	checkHeard(t, "the PBX", pbx.sound.receiver.Samples(), sc.callee, sc.caller)
	checkHeard(t, "the phone", l.heard(t), sc.caller, sc.callee)
	checkRegistered(t, log)
	checkInvite(t, log, push, sc.own)
	checkWoken(t, sc.server.record(t, n), push)
}

// checkHeard checks that a recording holds what the other side said, and not what
// its own side did.
func checkHeard(t *testing.T, who string, heard, said, own []int16) {
	t.Helper()
	other, lag := audio.Correlate(said, heard)
	self, _ := audio.Correlate(own, heard)
	t.Logf("%s heard %.1f s: the other's words %.3f, %d ms into it, its own %.3f", who, float64(len(heard))/audio.SampleRate, other, lag*1000/audio.SampleRate, self)
	if other < 0.6 || self > 0.3 {
		t.Errorf("%s did not hear the other side: correlation %.3f (with its own words %.3f)", who, other, self)
	}
}

// checkRegistered checks that the server promised pushes, and gave the phone its
// Contact back as it was: Linphone goes on with what it gets.
func checkRegistered(t *testing.T, log string) {
	t.Helper()
	asked := regexp.MustCompile(`(?s)\nREGISTER sip:.*?\nContact: ([^\r\n]*)`).FindStringSubmatch(log)
	got := regexp.MustCompile(`(?s)\nSIP/2.0 200 .*?\nContact: ([^\r\n]*);expires=3600\r?\n(?:.*?\n)?Feature-Caps: \*;\+sip\.pns="apns"\r?\n`).FindStringSubmatch(log)
	if asked == nil || got == nil || asked[1] != got[1] {
		t.Errorf("the phone asked for %q and got %q", asked, got)
	}
}

// checkInvite checks that the phone got one INVITE, and that it is the call that
// the push told of; own: in a payload of Linphone's.
func checkInvite(t *testing.T, log string, push apnssim.Delivery, own bool) {
	t.Helper()
	var told struct {
		UUID   string `json:"uuid"`
		CallID string `json:"call_id"`
		Handle string `json:"handle"`
		APS    struct {
			CallID string `json:"call-id"`
			Key    string `json:"loc-key"`
		}
	}
	if err := json.Unmarshal(push.Payload, &told); err != nil {
		t.Fatal(err)
	}
	if push.PushType != "voip" || push.Topic != daemon.DevBundle+".voip" || told.Handle != "100" || told.UUID == "" || told.CallID == "" {
		t.Errorf("push %s to %s: %s", push.PushType, push.Topic, push.Payload)
	}
	if own && (told.APS.CallID != told.CallID || told.APS.Key != "IC_MSG") { // what Linphone's iOS app looks for
		t.Errorf("no payload of Linphone's: %s", push.Payload)
	}
	invites := regexp.MustCompile(`(?s)\nINVITE sip:.*?\r?\n\r?\n`).FindAllString(log, -1)
	if len(invites) != 1 {
		t.Errorf("the phone got %d INVITEs", len(invites))
	}
	for _, invite := range invites {
		for name, want := range map[string]string{"X-Call-UUID": told.UUID, "Call-ID": told.CallID} {
			if got := regexp.MustCompile(`(?mi)^` + name + `:\s*(\S+)\s*$`).FindStringSubmatch(invite); got == nil || got[1] != want {
				t.Errorf("%s of the INVITE: %q, of the push: %q", name, got, want)
			}
		}
	}
}

// checkWoken checks the record of a call that woke its one device by one push.
func checkWoken(t *testing.T, r bridge.Record, push apnssim.Delivery) {
	t.Helper()
	if r.Result != bridge.Answered || r.Status != 200 || r.HangupBy != "caller" || r.Trunk != "pbx" || len(r.Attempts) != 1 || len(r.Attempts[0].Pushes) != 1 {
		t.Errorf("record: %+v", r)
		return
	}
	a := r.Attempts[0]
	if p := a.Pushes[0]; p.Kind != "voip" || !p.Accepted || !strings.EqualFold(p.ID, push.APNsID) || !strings.Contains(string(push.Payload), a.UUID) {
		t.Errorf("push of the record: %+v for %s; delivered: %+v", p, a.UUID, push)
	}
	if at := a.Pushes[0].At; at.Before(r.Started) || at.After(r.Answered) {
		t.Errorf("push accepted at %s in %+v", at, r)
	}
	moments := []time.Time{r.Started, a.Registered, a.Invited, a.Rang, a.Answered, r.Ended}
	for i, m := range moments {
		if m.IsZero() || i > 0 && m.Before(moments[i-1]) {
			t.Errorf("moment %d is out of order: %v", i, moments)
		}
	}
	since := func(m time.Time) string { return m.Sub(r.Started).Round(100 * time.Microsecond).String() }
	t.Logf("push accepted after %s, registered %s, invited %s, ringing %s, answered %s, ended %s",
		since(a.Pushes[0].At), since(a.Registered), since(a.Invited), since(a.Rang), since(a.Answered), since(r.Ended))
	if d := a.Invited.Sub(a.Registered); d > 500*time.Millisecond {
		t.Errorf("the INVITE came %s after the REGISTER", d)
	}
}

// certificate makes a CA and a certificate for localhost, all as files.
func certificate(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
			NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}
	}
	root := template("test CA")
	root.IsCA, root.KeyUsage = true, x509.KeyUsageCertSign
	rootKey := newKey(t)
	leaf := template("localhost")
	leaf.DNSNames, leaf.SerialNumber = []string{"localhost"}, big.NewInt(2)
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leafKey := newKey(t)
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("ca.pem", "CERTIFICATE", rootDER), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
