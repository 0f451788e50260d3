package push

import (
	"encoding/json"
	"log/slog"
)

// Kind is what a push does on the phone.
type Kind string

// The kinds of push.
const (
	// VoIP starts the app in the background by PushKit.
	VoIP Kind = "voip"
	// Alert shows an ordinary notification.
	Alert Kind = "alert"
	// Background starts the app silently and without urgency.
	Background Kind = "background"
	// Cancel ends the ringing that a VoIP push of the same UUID began. Only
	// Android's service has it: on an iPhone each VoIP push is a call, so that
	// Payload does not write one.
	Cancel Kind = "cancel"
)

// Environment is the world that a device token belongs to: an app from the App
// Store or TestFlight is in production, one started from Xcode in the sandbox.
type Environment string

// The environments. The zero value means Auto.
const (
	Auto       Environment = "auto" // not known yet: found out by trying
	Production Environment = "production"
	Sandbox    Environment = "sandbox"
)

// Known says whether e is one definite environment.
func (e Environment) Known() bool { return e == Production || e == Sandbox }

// maskedBelow is the length under which a token shows nothing of itself: four
// characters of a very short one would be most of it.
const maskedBelow = 12

// DeviceToken is the secret by which a push service reaches one installation
// of an app. As text it is masked but for its last four characters; Secret is
// the way to the whole.
type DeviceToken string

// Secret is the whole token, for the sender's request and for the store.
func (t DeviceToken) Secret() string { return string(t) }

// String is the masked form.
func (t DeviceToken) String() string {
	switch {
	case t == "":
		return ""
	case len(t) < maskedBelow:
		return "…"
	}
	return "…" + string(t[len(t)-4:])
}

// GoString is the masked form (%#v).
func (t DeviceToken) GoString() string { return t.String() }

// LogValue is the masked form.
func (t DeviceToken) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON writes the masked form; a token cannot be read back from it.
func (t DeviceToken) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// App names an app as its pushes are addressed. An empty TeamID stands for
// whatever team has that bundle id.
type App struct {
	BundleID string // of an app on FCM: the Firebase project
	TeamID   string
	Service  Service
}

// Service is a push service. The zero value is Apple's.
type Service string

// FCM is Google's service, Firebase Cloud Messaging. One token per
// installation: it stands in Device.VoIP, as its pushes start the app.
const FCM Service = "fcm"

// Device is what push needs to know of one device.
type Device struct {
	App App
	// Environment is that of the tokens, learned from an earlier Result. It belongs to
	// the tokens: new ones start at Auto. Likely is what the app or its backend says of
	// them, which may be wrong: it is asked first.
	Environment Environment
	Likely      Environment
	VoIP        DeviceToken // empty: no PushKit, or no CallKit (iOS 8 and 9); the token of FCM
	Alert       DeviceToken
}
