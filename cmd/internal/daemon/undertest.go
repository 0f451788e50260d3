package daemon

import (
	"context"
	"crypto/x509"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/pushtest"
	"wakebridge/push"
	"wakebridge/push/fcm"
	"wakebridge/sipua/location"
)

// underTest is the server as test pushes meet it.
func (d *Daemon) underTest() pushtest.Server {
	return pushtest.Server{Push: d.cfg.Push, Node: d.node(), Sender: testSender{d.waker}, Memory: d.memory, Log: d.log,
		Edit: func(ctx context.Context, edits ...location.Edit) error {
			_, err := d.registrar.Do(ctx, edits...)
			return err
		}}
}

// testSender implements pushtest.Sender.
type testSender struct{ w *waker }

// App implements pushtest.Sender.
func (s testSender) App(provider, bundle, team string) (push.App, bool) {
	return s.w.app(provider, bundle, team)
}

// Route implements pushtest.Sender.
func (s testSender) Route(to push.App) (push.Route, bool) { return s.w.mux.Find(to) }

// Device implements pushtest.Sender.
func (testSender) Device(to push.App, info location.PushInfo, kind location.TokenKind) push.Device {
	return deviceOf(to, info, kind)
}

// Dispatch implements pushtest.Sender.
func (s testSender) Dispatch(ctx context.Context, r push.Request, report func(push.Result)) {
	s.w.dispatcher.Dispatch(ctx, r, report)
}

// Learn implements pushtest.Sender.
func (s testSender) Learn(owner location.Device, uuid string, r push.Result) {
	s.w.learn(bridge.Wake{AOR: owner.AOR, Device: owner.Key, Push: owner.Push, UUID: uuid}, r)
}

// SignIn implements pushtest.Sender.
func (s testSender) SignIn(ctx context.Context, project string, a fcm.Account) (time.Time, error) {
	return s.w.android.SignIn(ctx, project, a)
}

// Roots implements pushtest.Sender.
func (testSender) Roots(key, file string) (*x509.CertPool, error) { return loadCAs(key, file) }
