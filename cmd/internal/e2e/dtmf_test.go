package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// withTLS lets a server listen for TLS as localhost, and makes what trusts it.
func withTLS(t *testing.T) (adjust func(*config.Config), trust *tls.Config, ca string) {
	t.Helper()
	ca, cert, key := certificate(t)
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in the file of the CA")
	}
	return func(c *config.Config) {
		c.Listen = append(c.Listen, config.Listener{Transport: "tls", Bind: netip.MustParseAddrPort(serverHost + ":0"), CertFile: cert, KeyFile: key})
	}, &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}, ca
}

// keyPBX is a PBX that does keys one way.
func keyPBX(t *testing.T, hz float64, keys softphone.KeyWay) (*softphone.Phone, int) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", trunkHost+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := phone(t, softphone.Config{AOR: sipua.NewAOR("100", trunkHost), Display: "Anna", Packets: []net.PacketConn{conn},
		Audio: softphone.AudioConfig{Keys: keys}}, trunkHost, softphone.Tone(hz))
	return p, conn.LocalAddr().(*net.UDPAddr).Port
}

// Keys go both ways, whichever way either side does them, in order and once each,
// with SRTP on the app's leg and the voice around them unharmed.
func TestKeys(t *testing.T) {
	const events, info = softphone.KeysEvents, softphone.KeysInfo
	for name, c := range map[string]struct {
		pbx, app softphone.KeyWay
		record   *bridge.DTMFRecord
	}{
		"both by events": {events, events, nil},
		"app by INFO":    {events, info, &bridge.DTMFRecord{ToEvents: 4, ToInfo: 5}},
		"PBX by INFO":    {info, events, &bridge.DTMFRecord{ToEvents: 5, ToInfo: 4}},
		"both by INFO":   {info, info, &bridge.DTMFRecord{Relayed: 9}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adjust, trust, _ := withTLS(t)
			p, port := keyPBX(t, 440, c.pbx)
			s := start(t, func(cfg *config.Config) {
				adjust(cfg)
				trunkAt(port)(cfg)
			})
			a := phone(t, softphone.Config{AOR: sipua.NewAOR("alice", daemon.DevDomain), Password: "secret", Dial: softphone.Dialer(trust),
				Audio: softphone.AudioConfig{Keys: c.app}}, phoneHost, softphone.Tone(620))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			account := account(s, "", "")
			account.Transport, account.Server = sipua.TLS, softphone.At(s.Addr(sipua.TLS))
			if _, _, err := a.RegisterAndWait(ctx, account); err != nil {
				t.Fatal(err)
			}
			out := dial(t, s, p, "201")
			in, err := a.Accept(ctx)
			if err == nil {
				err = in.Answer()
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Wait(ctx, softphone.Answered); err != nil {
				t.Fatal(err)
			}
			hears(t, "the caller", out, 620)
			hears(t, "the phone", in, 440)
			if err := in.Press("12*#"); err != nil {
				t.Fatal(err)
			}
			if err := out.Press("99A0D"); err != nil {
				t.Fatal(err)
			}
			wait(t, 15*time.Second, "the keys", func() (bool, string) {
				atPBX, atApp := out.Digits(), in.Digits()
				return len(atPBX) >= 4 && len(atApp) >= 5, fmt.Sprintf("the PBX got %s, the app %s", atPBX, atApp)
			})
			since := len(out.Audio().Samples)
			wait(t, 10*time.Second, "the voice to go on", func() (bool, string) {
				heard := out.Audio()
				return len(heard.Samples) > since+8000, fmt.Sprint(len(heard.Samples)-since, " samples")
			})
			if atPBX, atApp := out.Digits(), in.Digits(); atPBX != "12*#" || atApp != "99A0D" {
				t.Errorf("the PBX got %s, the app %s", atPBX, atApp)
			}
			if err := out.Hangup(); err != nil {
				t.Fatal(err)
			}
			r := s.record(t, 0)
			if (r.DTMF == nil) != (c.record == nil) || r.DTMF != nil && *r.DTMF != *c.record {
				t.Errorf("record %+v, want %+v", r.DTMF, c.record)
			}
			if len(r.Media) != 2 || r.Media[0].Crypto != "" || r.Media[1].Crypto == "" {
				t.Errorf("media %+v", r.Media)
			}
		})
	}
}

// Linphone, which we did not write, is called, presses keys its two ways and is
// pressed one; each side gets them in its own way. By INFO it has no events at all.
func TestLinphonePressesKeys(t *testing.T) {
	needPrograms(t, map[string]string{"linphonec": "linphone-cli", "espeak-ng": "espeak-ng", "sox": "sox"})
	for name, c := range map[string]struct {
		pbx    softphone.KeyWay
		byInfo bool
		record *bridge.DTMFRecord
	}{
		"INFO to events":   {softphone.KeysEvents, true, &bridge.DTMFRecord{ToEvents: 4, ToInfo: 1}},
		"events to INFO":   {softphone.KeysInfo, false, &bridge.DTMFRecord{ToInfo: 4, ToEvents: 1}},
		"events to events": {softphone.KeysEvents, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adjust, _, ca := withTLS(t)
			p, port := keyPBX(t, 440, c.pbx)
			s := start(t, func(cfg *config.Config) {
				adjust(cfg)
				trunkAt(port)(cfg)
			})
			l := newLinphone(t, linphoneAccount{Server: fmt.Sprintf("localhost:%d;transport=tls", s.port(sipua.TLS)), Domain: daemon.DevDomain,
				Instance: "5f0f5b1c-0000-4000-8000-000000000003", RootCA: ca, Encryption: "srtp", Mandatory: true, KeysByInfo: c.byInfo},
				speak(t, "en-us", "My number is one two star hash."))
			l.wake(t)
			l.logged(t, "to [LinphoneRegistrationOk]")
			l.do(t, "autoanswer enable")
			out := dial(t, s, p, "201")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if _, err := out.Wait(ctx, softphone.Answered); err != nil {
				t.Fatal(err)
			}
			l.logged(t, "to LinphoneCallStreamsRunning")
			wait(t, 15*time.Second, "the PBX to hear the phone", func() (bool, string) {
				a := out.Audio()
				return a.Received > 50, fmt.Sprintf("%d packets", a.Received)
			})
			for i, key := range []string{"1", "2", "*", "#"} {
				l.do(t, key)
				wait(t, 15*time.Second, "key "+key, func() (bool, string) { return len(out.Digits()) > i, out.Digits() })
			}
			if err := out.Press("7"); err != nil {
				t.Fatal(err)
			}
			wait(t, 15*time.Second, "the phone to hear a key", func() (bool, string) {
				return strings.Contains(l.screen.String(), "Receiving tone 7 "), "it did not"
			})
			<-time.After(time.Second) // in which nothing comes twice
			if got, n := out.Digits(), strings.Count(l.screen.String(), "Receiving tone"); got != "12*#" || n != 1 {
				t.Errorf("the PBX got %s, the phone %d keys", got, n)
			}
			if err := out.Hangup(); err != nil {
				t.Fatal(err)
			}
			l.logged(t, "to LinphoneCallReleased")
			r := s.record(t, 0)
			if (r.DTMF == nil) != (c.record == nil) || r.DTMF != nil && *r.DTMF != *c.record {
				t.Errorf("record %+v, want %+v", r.DTMF, c.record)
			}
			if len(r.Media) != 2 || r.Media[1].Crypto == "" {
				t.Errorf("media %+v", r.Media)
			}
		})
	}
}

// baresip, which we did not write either, is pressed keys: by INFO if media.dtmf says
// so, and as events that we make of a PBX's INFO.
func TestBaresipIsPressedKeys(t *testing.T) {
	needPrograms(t, map[string]string{"baresip": "baresip-core", "espeak-ng": "espeak-ng", "sox": "sox"})
	for name, c := range map[string]struct {
		mode   string
		pbx    softphone.KeyWay
		record *bridge.DTMFRecord
		prints []string // for each key
	}{
		"events to INFO": {"info", softphone.KeysEvents, &bridge.DTMFRecord{ToInfo: 4}, []string{"call: received DTMF: '%s' (duration=160)"}},
		"INFO to events": {"auto", softphone.KeysInfo, &bridge.DTMFRecord{ToEvents: 4}, []string{"received event: '%s' (end=0)", "received event: '%s' (end=1)"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adjust, _, ca := withTLS(t)
			p, port := keyPBX(t, 440, c.pbx)
			s := start(t, func(cfg *config.Config) {
				adjust(cfg)
				trunkAt(port)(cfg)
				cfg.Media.DTMF = c.mode
				cfg.Domains[0].Auth = []string{"md5"} // this version refuses all when it sees SHA-256
			})
			b := newBaresip(t, baresipAccount{Server: fmt.Sprintf("%s:%d;transport=tls", serverHost, s.port(sipua.TLS)), Domain: daemon.DevDomain,
				RootCA: ca, Encryption: "srtp-mand", Host: phoneHost,
				Speech: speak(t, "en-us", "Press one for English, two for German, and so on, and so on, until the morning.")})
			b.printed(t, "200 OK")
			out := dial(t, s, p, "201")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if _, err := out.Wait(ctx, softphone.Answered); err != nil {
				t.Fatal(err)
			}
			wait(t, 15*time.Second, "the PBX to hear the phone", func() (bool, string) {
				a := out.Audio()
				return a.Received > 50, fmt.Sprintf("%d packets", a.Received)
			})
			if err := out.Press("12*#"); err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{"1", "2", "*", "#"} {
				for _, line := range c.prints {
					b.printed(t, fmt.Sprintf(line, key))
				}
			}
			if err := out.Hangup(); err != nil {
				t.Fatal(err)
			}
			r := s.record(t, 0)
			if (r.DTMF == nil) != (c.record == nil) || r.DTMF != nil && *r.DTMF != *c.record {
				t.Errorf("record %+v, want %+v", r.DTMF, c.record)
			}
			if len(r.Media) != 2 || r.Media[1].Crypto == "" {
				t.Errorf("media %+v", r.Media)
			}
		})
	}
}
