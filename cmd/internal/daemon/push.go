package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/fcm"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
)

// waker adapts push to the bridge, and brings what a push taught us back to the
// location.
type waker struct {
	dispatcher *push.Dispatcher
	mux        *push.Mux
	service    *apns.Service
	android    *fcm.Service
	projects   []string              // of FCM's apps
	names      map[push.App]bool     // apps whose pushes may name the caller, without a team
	alerts     map[string]alertTerms // by bundle
	edit       func(...location.Edit)
	settle     func(context.Context, ...location.Edit) error // edit that waits until it is done
	log        *slog.Logger
	panics     prometheus.Counter
}

// newWaker connects to the push services of the configured apps by dial (nil: as
// they do by themselves); without any app, it serves none.
func newWaker(cfg config.Push, log *slog.Logger, reg prometheus.Registerer, dial apns.DialFunc) (*waker, error) {
	ac := apns.Config{Production: cfg.APNs.Production, Sandbox: cfg.APNs.Sandbox, Dial: dial, Log: log, Metrics: reg}
	w := &waker{log: log, names: make(map[push.App]bool), alerts: make(map[string]alertTerms), panics: newPanics(reg)}
	if cfg.APNs.CAFile != "" {
		pool, err := loadCAs("push.apns.ca_file", cfg.APNs.CAFile)
		if err != nil {
			return nil, err
		}
		ac.RootCAs = pool
	}
	for _, a := range cfg.Apps {
		if a.Provider == string(push.FCM) {
			continue
		}
		app, err := apnsApp(a)
		if err != nil {
			return nil, fmt.Errorf("push.apps[%s].%w", a.BundleID, err)
		}
		ac.Apps = append(ac.Apps, app)
		w.names[push.App{BundleID: a.BundleID}] = a.CallerName
		w.alerts[a.BundleID] = alertTerms{repeat: a.AlertRepeat, missed: a.MissedCallAlert}
	}
	var routes []push.Route
	if len(ac.Apps) > 0 {
		service, err := apns.New(ac)
		if err != nil {
			return nil, fmt.Errorf("push.apps: %w", err)
		}
		w.service = service
		routes = service.Routes()
	}
	android, err := w.openFCM(cfg, log, reg, dial)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	routes = append(routes, android...)
	mux, err := push.NewMux(routes...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("push.apps: %w", err), w.close())
	}
	w.mux = mux
	delivery, err := push.NewDelivery(push.Config{Mux: mux, Log: log, Metrics: reg})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("push: %w", err), w.close())
	}
	w.dispatcher = push.NewDispatcher(delivery)
	return w, nil
}

// apnsApp loads an app's keys and certificates. An error begins with the key of
// the configuration.
func apnsApp(a config.App) (app apns.App, err error) {
	app = apns.App{BundleID: a.BundleID, TeamID: a.TeamID, Environment: push.Environment(a.Environment)}
	template, ok := push.TemplateNamed(a.Payload)
	if !ok {
		return app, fmt.Errorf("payload: no template %q", a.Payload)
	}
	app.Payload = template
	for _, k := range a.Keys {
		key, err := apns.LoadKey(k.File, k.ID)
		if err != nil {
			return app, fmt.Errorf("keys[%s]: %w", k.ID, err)
		}
		key.Environment = push.Environment(k.Environment)
		app.Keys = append(app.Keys, key)
	}
	if c := a.VoIPCertificate; c.File != "" {
		if app.VoIP, err = apns.LoadCertificate(c.File, c.PasswordFile); err != nil {
			return app, fmt.Errorf("voip_certificate: %w", err)
		}
	}
	if c := a.AlertCertificate; c.File != "" {
		if app.Alert, err = apns.LoadCertificate(c.File, c.PasswordFile); err != nil {
			return app, fmt.Errorf("alert_certificate: %w", err)
		}
	}
	return app, nil
}

func loadCAs(key, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %s holds no certificate", key, file)
	}
	return pool, nil
}

func (w *waker) close() error {
	var errs []error
	if w.dispatcher != nil {
		errs = append(errs, w.dispatcher.Close())
	}
	if w.service != nil {
		errs = append(errs, w.service.Close())
	}
	if w.android != nil {
		errs = append(errs, w.android.Close())
	}
	return errors.Join(errs...)
}

// serves says that pushes to an app can be sent.
func (w *waker) serves(provider, bundle, team string) bool {
	app, known := w.app(provider, bundle, team)
	_, ok := w.mux.Find(app)
	return known && ok
}

// terms are the registrar's.
func (w *waker) terms(e config.PushExpires) registrar.PushTerms {
	return registrar.PushTerms{Expires: registrar.Lease{Min: e.Min, Default: e.Default, Max: e.Max}, Serves: w.serves, Services: w.services()}
}

// Wake implements bridge.Waker.
func (w *waker) Wake(ctx context.Context, wake bridge.Wake, report func(bridge.WakeResult)) {
	order := w.request(wake)
	order.Heard = func(res push.Result) { w.learn(wake, res) } // the call has had its word, a dead token is dead for the next one
	w.dispatcher.Dispatch(ctx, order, func(res push.Result) {
		w.learn(wake, res)
		w.cancelLater(ctx, wake, res)
		out := resultOf(wake.Push.Provider, res)
		out.Stopped = res.Reason == push.Stopped && ctx.Err() != nil
		report(out)
	})
}

// Reached implements bridge.Waker.
func (w *waker) Reached(aor sipua.AOR, device string) {
	w.edit(location.Reached{AOR: aor, Key: device, At: time.Now()})
}

func (w *waker) request(wake bridge.Wake) push.Request {
	p := wake.Push
	kind := location.VoIP
	want := push.ByPolicy
	if wake.AlertOnly {
		kind, want = location.Alert, push.OnlyAlert
	} else if wake.VoIPOnly {
		want = push.OnlyVoIP
	} else if p.VoIP.IsZero() {
		kind = location.Alert
	}
	n := push.Notification{
		UUID: wake.UUID, CallID: wake.CallID, Handle: wake.Handle, HandleType: wake.HandleType, Name: wake.Name, Video: wake.Video,
		To: wake.To, From: wake.From, SentAt: wake.SentAt, ExpiresAt: wake.ExpiresAt, Expiration: wake.ExpiresAt,
	}
	if wake.Fleeting {
		n.Expiration = time.Time{}
	}
	app, _ := w.app(p.Provider, p.BundleID, p.TeamID) // a provider that is gone has no route
	if !w.names[push.App{BundleID: app.BundleID, Service: app.Service}] {
		n.Name, n.Handle, n.From = "", "", ""
	}
	return push.Request{Want: want, Notification: n, Device: deviceOf(app, p, kind)}
}

// deviceOf is a device as push addresses it, for a push of one kind.
func deviceOf(app push.App, p location.PushInfo, kind location.TokenKind) push.Device {
	return push.Device{App: app, Environment: environment(p.Token(kind).Environment), Likely: environment(p.Environment),
		VoIP: push.DeviceToken(p.VoIP.Value), Alert: push.DeviceToken(p.Alert.Value)}
}

func environment(e location.Environment) push.Environment {
	switch e {
	case location.Production:
		return push.Production
	case location.Sandbox:
		return push.Sandbox
	}
	return push.Auto
}

// isGone says that a service knew a token once.
func isGone(r push.Reason) bool {
	return r == "Unregistered" || r == "ExpiredToken" || r == "UNREGISTERED"
}

// learn notes what the push service told about a token: where it lives, or that
// it is dead.
func (w *waker) learn(wake bridge.Wake, res push.Result) {
	w.contain("learning from a push", func() { w.note(wake, res) })
}

func (w *waker) note(wake bridge.Wake, res push.Result) {
	if res.Status == 0 {
		return // our own verdict, or none: nobody said anything about the token
	}
	kind, counts := location.VoIP, location.VoIP
	if res.Kind != push.VoIP {
		kind, counts = location.Alert, location.Alert
	}
	if res.Kind == push.Background {
		kind = wake.Push.Quiet() // and yet no call that a device could come for
	}
	edits := []location.Edit{location.PushReport{AOR: wake.AOR, Key: wake.Device, Kind: counts,
		Accepted: res.Outcome == push.Accepted, Reason: string(res.Reason), Sent: res.Written, At: time.Now()}}
	token := wake.Push.Token(kind).Value
	if res.Outcome == push.Accepted && res.Environment.Known() && token != "" {
		env := location.Production
		if res.Environment == push.Sandbox {
			env = location.Sandbox
		}
		if wake.Push.EnvironmentOf(kind) != env || wake.Push.Token(kind).Environment == location.UnknownEnvironment {
			edits = append(edits, location.SetEnvironment{Kind: kind, Value: token, Environment: env})
		}
	}
	if res.Reason == "TooManyRequests" { // APNs, about this token
		edits = append(edits, location.Throttle{Kind: kind, Value: token, At: time.Now()})
	}
	if res.Dead.IsZero() {
		w.edit(edits...)
		return
	}
	edits = append(edits, location.RemoveToken{Kind: kind, Value: res.Dead.Token.Secret(), NotAfter: res.Dead.Since, Gone: isGone(res.Reason)})
	// The caller hears of it next and may call again at once: the token must be gone
	// by then. A disk that is slow keeps nobody waiting for that.
	ctx, cancel := context.WithTimeout(context.Background(), deadWithin)
	defer cancel()
	if err := w.settle(ctx, edits...); err != nil {
		w.log.Info("a dead token is not stored as such yet", "device", wake.Device, "error", err)
	}
}

// deadWithin bounds how long a refused push waits until its token is forgotten.
const deadWithin = 100 * time.Millisecond
