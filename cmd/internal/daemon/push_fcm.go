package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/bridge"
	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/fcm"
)

// openFCM connects to FCM for the configured apps; without any it does nothing.
func (w *waker) openFCM(cfg config.Push, log *slog.Logger, reg prometheus.Registerer, dial apns.DialFunc) ([]push.Route, error) {
	fc := fcm.Config{URL: cfg.FCM.URL, Dial: fcm.DialFunc(dial), Log: log, Metrics: reg}
	for _, a := range cfg.Apps {
		if a.Provider != string(push.FCM) {
			continue
		}
		account, err := fcm.LoadAccount(a.ServiceAccountFile)
		if err != nil {
			return nil, fmt.Errorf("push.apps[%s].service_account_file: %w", a.ProjectID, err)
		}
		fc.Apps = append(fc.Apps, fcm.App{ProjectID: a.ProjectID, Account: account})
		w.projects = append(w.projects, a.ProjectID)
		w.names[push.App{Service: push.FCM, BundleID: a.ProjectID}] = a.CallerName
	}
	if len(fc.Apps) == 0 {
		return nil, nil
	}
	if cfg.FCM.CAFile != "" {
		pool, err := loadCAs("push.fcm.ca_file", cfg.FCM.CAFile)
		if err != nil {
			return nil, err
		}
		fc.RootCAs = pool
	}
	service, err := fcm.New(fc)
	if err != nil {
		return nil, fmt.Errorf("push.apps: %w", err)
	}
	w.android = service
	return service.Routes(), nil
}

// app is how push knows an app that a Contact named; false for a push service
// that we do not send by. Some Android apps put their project's number (the
// "sender ID") into pn-param in place of its id. We cannot tell whose it is, but
// with one project it can only be that one: FCM refuses the token of another.
func (w *waker) app(provider, bundle, team string) (app push.App, ok bool) {
	switch provider {
	case "apns":
		return push.App{BundleID: bundle, TeamID: team}, true
	case string(push.FCM):
		if len(w.projects) == 1 && isNumber(bundle) {
			bundle = w.projects[0]
		}
		return push.App{Service: push.FCM, BundleID: bundle}, true
	}
	return push.App{Service: push.Service(provider), BundleID: bundle, TeamID: team}, false
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// services are the push services that have an app, for capability queries.
func (w *waker) services() []string {
	var all []string
	if w.service != nil {
		all = append(all, "apns")
	}
	if w.android != nil {
		all = append(all, string(push.FCM))
	}
	return all
}

// cancelLater takes an accepted push back when the call ends before the device
// came for it, where its push service allows that. An app that got no such push,
// or got it late, still learns of the end: from expires_at, and from the fate
// when it registers.
func (w *waker) cancelLater(ctx context.Context, wake bridge.Wake, res push.Result) {
	order := w.request(wake)
	arrived := res.Outcome == push.Accepted || res.Reason == push.Stopped && !res.Written.IsZero()
	if res.Kind != push.VoIP || !arrived || !w.mux.CanCancel(order.Device.App) {
		return
	}
	context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.Canceled) || errors.Is(context.Cause(ctx), bridge.ErrReached) {
			return // the time to wake is over, so that the app knows; or the device is here
		}
		order.Want, order.Notification.SentAt = push.OnlyCancel, time.Now()
		w.dispatcher.Dispatch(context.WithoutCancel(ctx), order, func(push.Result) {}) // Delivery logs it
	})
}
