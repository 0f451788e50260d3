package daemon

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"wakebridge/cmd/internal/api"
	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// devices adapts the location to the API. Its writes go through the registrar, as
// all others do.
type devices struct {
	d       *Daemon
	users   *users
	writing sync.Mutex // one announcement at a time: each sees what it found
}

func newDevices(d *Daemon) *devices { return &devices{d: d, users: newUsers(d.cfg.Domains)} }

// userName is an AOR as the API names it, and aorOf the way back.
func userName(aor sipua.AOR) string { return aor.User + "@" + aor.Domain }

func aorOf(user string) sipua.AOR {
	at := max(strings.LastIndexByte(user, '@'), 0)
	return sipua.NewAOR(user[:at], strings.TrimPrefix(user[at:], "@"))
}

// Users implements api.Devices.
func (v *devices) Users(name string) []string {
	if aor := aorOf(name); v.users.has(aor) {
		return []string{userName(aor)}
	}
	var out []string
	for aor := range v.users.byAOR {
		if aor.User == sipua.NewAOR(name, "").User {
			out = append(out, userName(aor))
		}
	}
	slices.Sort(out)
	return out
}

// Devices implements api.Devices.
func (v *devices) Devices(user string) []api.Device {
	all := v.d.memory.Devices(aorOf(user))
	out := make([]api.Device, 0, len(all))
	for _, d := range all {
		out = append(out, v.shown(d))
	}
	return out
}

// Apps implements api.Devices.
func (v *devices) Apps() []api.App {
	out := make([]api.App, 0, len(v.d.cfg.Push.Apps))
	for _, a := range v.d.cfg.Push.Apps {
		if a.Provider == string(push.FCM) {
			out = append(out, api.App{Provider: "fcm", BundleID: a.ProjectID})
			continue
		}
		out = append(out, api.App{Provider: "apns", BundleID: a.BundleID, TeamID: a.TeamID})
	}
	return out
}

// Announce implements api.Devices.
func (v *devices) Announce(ctx context.Context, user, instance string, a api.Announcement) (api.Device, bool, error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	aor := aorOf(user)
	before := v.d.memory.Devices(aor)
	_, known := find(before, instance)
	announce := location.Announce{AOR: aor, Instance: instance, At: time.Now(), MaxContacts: v.maxContacts(aor.Domain), Push: location.PushInfo{
		Provider: a.Provider, BundleID: a.BundleID, TeamID: a.TeamID, Environment: saidEnvironment(a.Environment),
		VoIP:  location.Token{Value: a.VoIPToken, Kind: location.VoIP},
		Alert: location.Token{Value: a.AlertToken, Kind: location.Alert},
	}}
	notes, err := v.d.registrar.Do(ctx, announce)
	if err != nil {
		return api.Device{}, false, err
	}
	after := v.d.memory.Devices(aor)
	var refused error
	var evicted []string
	for _, n := range notes {
		switch n.Kind {
		case location.TokenRefused:
			refused = api.ErrTokenInUse
		case location.TokenDead:
			refused = api.ErrTokenDead
		case location.Evicted:
			if !slices.ContainsFunc(after, func(d location.Device) bool { return d.Key == n.Device.Key }) {
				evicted = append(evicted, nameOf(before, n.Device.Key))
			}
		}
	}
	d, ok := find(after, instance)
	if !ok { // it went in the meantime: logged out, or its token died
		d = location.Device{AOR: aor, Key: instance, Instance: instance}
	}
	v.d.log.Info("tokens announced over HTTP", "aor", aor.String(), "device", d.Key, "app", d.Push.BundleID, "voip", d.Push.VoIP, "alert", d.Push.Alert,
		"evicted", evicted, "refused", refused)
	if refused != nil { // another token of the same announcement may have been taken
		if len(evicted) > 0 {
			refused = fmt.Errorf("%w; for what was taken these devices had to go: %s", refused, strings.Join(evicted, ", "))
		}
		return api.Device{}, false, refused
	}
	out := v.shown(d)
	out.Evicted = evicted
	return out, !known, nil
}

// nameOf is how the API names the device of a key.
func nameOf(devices []location.Device, key string) string {
	i := slices.IndexFunc(devices, func(d location.Device) bool { return d.Key == key })
	if i < 0 {
		return key
	}
	return cmp.Or(devices[i].Instance, key)
}

// LogOut implements api.Devices: its backend's tokens are taken back, and the device
// is logged out, which forgets those that it announced by SIP.
func (v *devices) LogOut(ctx context.Context, user, key string) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	aor, now := aorOf(user), time.Now()
	d, ok := v.d.memory.Device(location.Ref{AOR: aor, Key: key})
	if !ok {
		return nil // it went in the meantime
	}
	_, err := v.d.registrar.Do(ctx, location.Announce{AOR: aor, Instance: d.Instance, At: now}, location.MarkLoggedOut{AOR: aor, Key: key, At: now})
	if err == nil {
		v.d.log.Info("device logged out over HTTP", "aor", aor.String(), "device", key)
	}
	return err
}

func find(all []location.Device, instance string) (location.Device, bool) {
	if i := slices.IndexFunc(all, func(d location.Device) bool { return d.Instance == instance }); i >= 0 {
		return all[i], true
	}
	return location.Device{}, false
}

func (v *devices) maxContacts(domain string) int {
	i := slices.IndexFunc(v.d.cfg.Domains, func(c config.Domain) bool { return strings.EqualFold(c.Name, domain) })
	if i < 0 {
		return 0
	}
	return v.d.cfg.Domains[i].MaxContacts
}

// saidEnvironment is the environment that a backend names.
func saidEnvironment(word string) location.Environment {
	switch push.Environment(word) {
	case push.Production:
		return location.Production
	case push.Sandbox:
		return location.Sandbox
	}
	return location.UnknownEnvironment
}

// shown is a device without its secrets.
func (v *devices) shown(d location.Device) api.Device {
	_, awake := d.Flow()
	out := api.Device{User: userName(d.AOR), Instance: d.Instance, Key: d.Key, Wakeable: d.Wakeable, WhyNot: v.whyNot(d), Connected: awake,
		Bindings: []api.Binding{}, LastSeen: d.LastSeen.UTC(), LoggedOut: d.LoggedOut.UTC(), Health: api.Health{
			Accepted: d.Health.Accepted, Refused: d.Health.Refused, Unanswered: d.Health.Unanswered,
			Suspected: d.Suspected(), NextVoIP: nextVoIP(d).UTC(),
			LastAccepted: d.Health.LastAccepted.UTC(), LastRefused: d.Health.LastRefused.UTC(), LastReason: d.Health.LastReason,
		}}
	if p := d.Push; p.HasToken() {
		out.Push = &api.Push{Provider: p.Provider, BundleID: p.BundleID, TeamID: p.TeamID, Environment: string(environment(p.Environment)),
			VoIPToken: shownToken(p.VoIP), AlertToken: shownToken(p.Alert)}
	}
	for _, b := range d.Bindings {
		shown := api.Binding{Contact: location.MaskContact(b.Contact), Transport: b.Transport, UserAgent: b.UserAgent,
			Registered: b.Registered.UTC(), Expires: b.Expires.UTC()}
		if b.Received.IsValid() {
			shown.Received = b.Received.String()
		}
		out.Bindings = append(out.Bindings, shown)
	}
	return out
}

// nextVoIP is when a device that gets alert pushes first gets a VoIP push again.
func nextVoIP(d location.Device) time.Time {
	if !d.AlertFirst(time.Now()) {
		return time.Time{}
	}
	return d.VoIPDue()
}

func shownToken(t location.Token) *api.Token {
	if t.IsZero() {
		return nil
	}
	return &api.Token{Value: t.Masked(), Source: t.Source.String(), Environment: t.Environment.String(), Updated: t.Updated.UTC()}
}

// whyNot says what keeps a device from being woken; "" if nothing does.
func (v *devices) whyNot(d location.Device) string {
	switch {
	case d.Wakeable:
		return ""
	case !d.LoggedOut.IsZero():
		return "it logged out: it is wakeable again with its next REGISTER"
	case !d.Push.HasToken():
		return "it has no push token: the app registers with pn-* parameters, or its backend announces tokens with PUT"
	case time.Since(d.LastSeen) >= cmp.Or(v.d.cfg.Push.DeviceTTL, 1):
		return fmt.Sprintf("it was last seen longer ago than push.device_ttl (%s)", v.d.cfg.Push.DeviceTTL)
	}
	return "its registration has expired, and push.after_expiry is false"
}
