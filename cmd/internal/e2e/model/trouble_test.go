package model

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/config"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
)

// credential is what the server shows to Apple: a key or, in every fourth world, the
// two certificates.
type credential struct {
	key   *ecdsa.PublicKey
	certs map[string]*apnssim.IssuedCertificate // by topic
	gone  bool                                  // Apple does not know it
}

// openCredential gives the app its credential.
func (w *world) openCredential(seed uint64) error {
	app := &w.dev.Config.Push.Apps[0]
	if seed%4 != 0 {
		text, err := os.ReadFile(app.Keys[0].File)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(text)
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return err
		}
		w.credential.key = &private.(*ecdsa.PrivateKey).PublicKey //nolint:forcetypeassert // Apple's are
		return nil
	}
	dir := filepath.Dir(app.Keys[0].File)
	app.Keys, w.credential.certs = nil, make(map[string]*apnssim.IssuedCertificate)
	for kind, into := range map[apnssim.Kind]*config.Certificate{apnssim.VoIP: &app.VoIPCertificate, apnssim.Alert: &app.AlertCertificate} {
		issued, err := w.dev.APNs.IssueCertificate(daemon.DevTeam, daemon.DevBundle, kind, "")
		if err != nil {
			return err
		}
		into.File = filepath.Join(dir, fmt.Sprintf("%s.pem", kind))
		if err := os.WriteFile(into.File, issued.PEM, 0o600); err != nil {
			return err
		}
		topic := daemon.DevBundle
		if kind == apnssim.VoIP {
			topic += ".voip"
		}
		w.credential.certs[topic] = issued
	}
	return nil
}

// revokes: Apple refuses the credential from now on.
func revokes(w *world, _ int) (bool, error) {
	if w.credential.gone {
		return false, nil
	}
	w.credential.gone = true
	if w.credential.key != nil {
		w.dev.APNs.RemoveKey(daemon.DevKey)
	}
	for _, c := range w.credential.certs {
		w.dev.APNs.RemoveCertificate(c.Leaf)
	}
	return true, nil
}

// reinstate: Apple takes the credential again.
func (w *world) reinstate() error {
	if !w.credential.gone {
		return nil
	}
	w.credential.gone = false
	if w.credential.key != nil {
		return w.dev.APNs.PutKey(apnssim.Key{ID: daemon.DevKey, TeamID: daemon.DevTeam, Public: w.credential.key})
	}
	var errs []error
	for topic, c := range w.credential.certs {
		errs = append(errs, w.dev.APNs.PutCertificate(c.Leaf, apnssim.Certificate{TeamID: daemon.DevTeam, Topics: []string{topic}}))
	}
	return errors.Join(errs...)
}

// networks are how badly accepted pushes fare. The first is a phone that VoIP pushes
// do not reach: it becomes suspected.
func networks() []apnssim.Network {
	return []apnssim.Network{{Lose: 1}, {Lose: 1}, {Lose: 0.5}, {Duplicate: 0.5}, {Reorder: 0.5}, {Duplicate: 0.3, Reorder: 0.3, Lose: 0.3}}
}

func appleLoses(w *world, n int) (bool, error) {
	all := networks()
	return true, w.dev.APNs.SetNetwork(all[n%len(all)])
}

func appleDelivers(w *world, _ int) (bool, error) {
	return true, w.dev.APNs.SetNetwork(apnssim.Network{})
}

// startServer starts the server, or starts it again with what it has stored.
func (w *world) startServer() (err error) {
	w.server, err = daemon.New(context.Background(), w.dev.Config, daemon.Options{Log: logger(), Version: "model", Network: w.net.Host(serverHost),
		Tap: w.saw, Recorded: w.observer.Recorded})
	return err
}

// restarts ends the server as an operator does who does not wait for calls, and
// starts it again. Calls end; devices and records stay.
func restarts(w *world, _ int) (bool, error) {
	devices := len(w.server.Memory().AORs())
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	stopping := time.Now()
	w.server.Stop(ctx)
	if n := w.server.Bridge().Active(); n > 0 {
		w.breaks("%d calls survive the server's end", n)
	}
	if n := w.server.Media().PortsInUse(); n > 0 {
		w.breaks("%d media ports survive the server's end", n)
	}
	w.observer.Restarted(stopping)
	if err := w.startServer(); err != nil {
		return false, fmt.Errorf("the server does not come up again: %w", err)
	}
	if n := len(w.server.Memory().AORs()); n != devices {
		w.breaks("the users with devices were %d before a restart, and are %d", devices, n)
	}
	return true, nil
}

// holds and resumes are the user's, of a call that he is in.
func holds(w *world, n int) (bool, error) {
	p := w.nth(n, (*handset).talks)
	return p != nil, w.user(p, func(id uuid.UUID) error { return p.device.Hold(id) })
}

func resumes(w *world, n int) (bool, error) {
	p := w.nth(n, (*handset).talks)
	return p != nil, w.user(p, func(id uuid.UUID) error { return p.device.Unhold(id) })
}

// taps: the user sees a notification and taps on it.
func (p *handset) taps() (bool, error) {
	err := p.device.Tap()
	if errors.Is(err, iphone.ErrNoNotification) {
		return false, nil
	}
	return err == nil, err
}

// mended: whatever was wrong before, a phone that registered again is woken by the
// next call.
func (w *world) mended() {
	p := w.phones[1] // bob's only one
	if err := p.device.Open(); err != nil {
		w.breaks("%s: %v", p.name, err)
		return
	}
	time.Sleep(5 * time.Second) // an app that was killed starts first
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := p.device.Ready(ctx); err != nil {
		w.breaks("%s does not register at the end: %v", p.name, err)
		return
	}
	if err := p.device.Sleep(); err != nil {
		w.breaks("%s: %v", p.name, err)
		return
	}
	time.Sleep(longestBreak)
	if err := w.call(w.pbx, sipua.UDP, number(1)); err != nil {
		w.breaks("%v", err)
		return
	}
	c := w.callers[len(w.callers)-1]
	time.Sleep(5 * time.Second)
	if ringing, _ := p.calls(); ringing != 1 {
		w.breaks("%s: no call is on the screen although all is well again", p.name)
	}
	c.hangUp(w)
	time.Sleep(40 * time.Second)
	for _, r := range w.observer.Records() {
		if r.CallID == c.CallID() && r.Result != bridge.Cancelled {
			w.breaks("the last call ended as %s: %s", r.Result, r.Reason)
		}
	}
}

// longestBreak is how long pushes are held back at most by a credential that Apple
// refused.
const longestBreak = 5 * time.Minute
