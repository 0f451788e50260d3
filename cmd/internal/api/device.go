package api

import (
	"context"
	"errors"
	"time"
)

// Devices is what the routes about devices need of the server. A user is named
// here as "name@domain".
type Devices interface {
	// Users are the configured users that a request may mean: by name, of which
	// several domains may have one, or by name@domain.
	Users(name string) []string
	// Devices lists a user's devices, the one last seen first.
	Devices(user string) []Device
	// Apps lists the apps that can be pushed to.
	Apps() []App
	// Announce stores an app's tokens durably, and says whether the device is new.
	// Errors: ErrTokenInUse, ErrTokenDead; any other says that nothing may have been stored.
	Announce(ctx context.Context, user, instance string, a Announcement) (d Device, created bool, err error)
	// LogOut makes a device unwakeable at once and forgets its tokens, durably.
	LogOut(ctx context.Context, user, key string) error
}

// ErrTokenInUse says that another device has a token and keeps it
// (push.shared_token).
var ErrTokenInUse = errors.New("another device uses this token")

// ErrTokenDead says that the push service called a token dead within the last day,
// and that the phone did not name it since.
var ErrTokenDead = errors.New("the push service no longer knows this token")

// App is an app that can be pushed to.
type App struct {
	Provider string // apns or fcm
	BundleID string // with fcm the Firebase project
	TeamID   string // "" for a provider that has no teams
}

// Announcement is the body of PUT: how to push to a device.
type Announcement struct {
	Provider    string `json:"provider"`    // apns or fcm
	BundleID    string `json:"bundle_id"`   // the app, without .voip; with fcm the Firebase project
	TeamID      string `json:"team_id"`     // may be ""; with fcm it must be
	Environment string `json:"environment"` // auto, production or sandbox; "": auto, the only one with fcm
	VoIPToken   string `json:"voip_token"`  // with fcm the registration token
	AlertToken  string `json:"alert_token"` // with fcm ""
}

// Device is a device as the API shows it. Its tokens are masked but for their
// last four characters, in the Contacts too.
type Device struct {
	User     string `json:"user"`     // name@domain
	Instance string `json:"instance"` // its +sip.instance; "" if it sends none
	Key      string `json:"key"`      // names it where it has no instance
	Wakeable bool   `json:"wakeable"`
	// WhyNot says what keeps it from being wakeable, and the cure.
	WhyNot    string    `json:"why_not,omitempty"`
	Connected bool      `json:"connected"` // it has a flow: a call needs no push
	Push      *Push     `json:"push,omitempty"`
	Bindings  []Binding `json:"bindings"`
	LastSeen  time.Time `json:"last_seen"`
	LoggedOut time.Time `json:"logged_out,omitzero"`
	Health    Health    `json:"health"`
	// Evicted are the devices, by instance or key, that made room for this one. Only
	// PUT tells.
	Evicted []string `json:"evicted,omitempty"`
}

// Push is how a device is pushed to.
type Push struct {
	Provider    string `json:"provider"`
	BundleID    string `json:"bundle_id"`
	TeamID      string `json:"team_id,omitempty"`
	Environment string `json:"environment"` // as announced; auto if it was not
	VoIPToken   *Token `json:"voip_token,omitempty"`
	AlertToken  *Token `json:"alert_token,omitempty"`
}

// Token is a push token without its secret.
type Token struct {
	Value       string    `json:"value"`       // the last four characters
	Source      string    `json:"source"`      // sip or http: who announced it
	Environment string    `json:"environment"` // where a push was accepted; unknown before
	Updated     time.Time `json:"updated"`
}

// Binding is one Contact of a device.
type Binding struct {
	Contact    string    `json:"contact"`
	Transport  string    `json:"transport"`
	Received   string    `json:"received,omitempty"` // address that the REGISTER came from
	UserAgent  string    `json:"user_agent,omitempty"`
	Registered time.Time `json:"registered"`
	Expires    time.Time `json:"expires"`
}

// Health is what became of the pushes to a device.
type Health struct {
	Accepted   uint64 `json:"accepted"`
	Refused    uint64 `json:"refused"`
	Unanswered int    `json:"unanswered"` // VoIP pushes accepted since it last registered or answered a call
	// Suspected says that VoIP pushes do not seem to wake it any more, so that
	// alert pushes go first, and VoIP pushes wait for NextVoIP.
	Suspected    bool      `json:"suspected"`
	NextVoIP     time.Time `json:"next_voip,omitzero"` // may be past; only if suspected, or if too many pushes went to its VoIP token
	LastAccepted time.Time `json:"last_accepted,omitzero"`
	LastRefused  time.Time `json:"last_refused,omitzero"`
	LastReason   string    `json:"last_reason,omitempty"`
}
