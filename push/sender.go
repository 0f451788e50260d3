package push

import (
	"context"
	"errors"
	"fmt"
)

// Target is where a push goes.
type Target struct {
	Token       DeviceToken
	Environment Environment // of the token, as far as known
	Likely      Environment // where it is not: to be asked first
}

// Sender sends one app's pushes by one push service. It is safe for
// concurrent use.
type Sender interface {
	// Can is what the app's credentials may send.
	Can() Capability
	// Send brings n to t, with whatever retries the service's rules want,
	// and returns when the service answered or ctx ended. It fills all of
	// Result but Kind, ID and Latency, and Text where the reason is ours.
	Send(ctx context.Context, t Target, n Notification) Result
}

// Route says who sends for an app.
type Route struct {
	App    App
	Sender Sender
}

// Mux finds the sender for a device's app. It does not change once made.
type Mux struct {
	routes map[name][]Route
}

// name is what an app is looked up by.
type name struct {
	service  Service
	bundleID string
}

func (a App) name() name { return name{a.Service, a.BundleID} }

// NewMux makes a Mux. Each route needs a bundle id and a sender (ErrNoSender);
// two of one service may share a bundle id only with different teams
// (ErrDuplicateApp).
func NewMux(routes ...Route) (*Mux, error) {
	m := &Mux{routes: make(map[name][]Route)}
	var faults []error
	for _, r := range routes {
		if r.App.BundleID == "" || r.Sender == nil {
			faults = append(faults, fmt.Errorf("app %q: %w", r.App.BundleID, ErrNoSender))
			continue
		}
		for _, other := range m.routes[r.App.name()] {
			if other.App.TeamID == r.App.TeamID {
				faults = append(faults, fmt.Errorf("app %q of team %q: %w", r.App.BundleID, r.App.TeamID, ErrDuplicateApp))
			}
		}
		m.routes[r.App.name()] = append(m.routes[r.App.name()], r)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return m, nil
}

// CanCancel says that a VoIP push to app may be taken back by a Cancel push.
func (m *Mux) CanCancel(app App) bool {
	r, ok := m.Find(app)
	return ok && r.Sender.Can().Cancel
}

// Find is the route for app. A team, where both sides name one, must be the
// same; without a team, or for a route without one, the bundle id decides, as
// long as it means one app only.
func (m *Mux) Find(app App) (Route, bool) {
	var found Route
	matches := 0
	for _, r := range m.routes[app.name()] {
		if r.App.TeamID == app.TeamID {
			return r, true
		}
		if r.App.TeamID == "" || app.TeamID == "" {
			found = r
			matches++
		}
	}
	return found, matches == 1
}

// apps lists the configured apps.
func (m *Mux) apps() []App {
	var all []App
	for _, rs := range m.routes {
		for _, r := range rs {
			all = append(all, r.App)
		}
	}
	return all
}
