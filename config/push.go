package config

import "time"

// Push says how sleeping phones are woken.
type Push struct {
	// WakeTimeout bounds waking, inside Calls.RingTimeout and shorter than it.
	// Default: 30s.
	WakeTimeout time.Duration `mapstructure:"wake_timeout" range:"1s..10m"`
	// Ringing says when the caller gets 180: trying (when a device rings),
	// on_push (when the first push is accepted) or at_once. Default: on_push.
	Ringing string `mapstructure:"ringing" oneof:"trying|on_push|at_once"`
	// Expires bounds the registrations of contacts that can be pushed.
	Expires PushExpires `mapstructure:"expires"`
	// DeviceTTL is how long a device stays wakeable after its last REGISTER.
	// Default: 90d.
	DeviceTTL time.Duration `mapstructure:"device_ttl" range:"1h..3650d"`
	// AfterExpiry pushes to devices whose registration has expired, which
	// RFC 8599 s5.5 forbids and sleeping iPhones need. Default: true.
	AfterExpiry bool `mapstructure:"after_expiry"`
	// SharedToken says what a token means that a second device announces:
	// same_instance (one phone with several AORs keeps it, another phone takes it
	// over), newest (whoever announced it last has it alone) or refuse (as
	// same_instance, but another user's phone does not get it).
	// Default: same_instance.
	SharedToken string `mapstructure:"shared_token" oneof:"same_instance|newest|refuse"`
	// Apps are the apps that can be woken. Default: none.
	Apps []App `mapstructure:"apps"`
	// APNs is Apple's push service, or a simulator of it.
	APNs APNs `mapstructure:"apns"`
	// FCM is Google's push service, or a simulator of it.
	FCM FCM `mapstructure:"fcm"`
}

// PushExpires bounds the lifetime of registrations that can be pushed.
type PushExpires struct {
	// Min is the shortest; less is answered 423. Default: 10m.
	Min time.Duration `mapstructure:"min" range:"10s..365d"`
	// Default is for a REGISTER that names none. Default: 7d.
	Default time.Duration `mapstructure:"default" range:"10s..365d"`
	// Max is the longest; more is shortened. Default: 30d.
	Max time.Duration `mapstructure:"max" range:"10s..365d"`
}

// App is an app that can be woken, with its credentials.
type App struct {
	// Provider is the push service: apns (iPhones) or fcm (Android). The next two
	// keys are for fcm, CallerName for both, all others for apns. Default: apns.
	Provider string `mapstructure:"provider" oneof:"apns|fcm"`
	// ProjectID is the Firebase project of the app, which it names in pn-param.
	// Default: none, it must be given.
	ProjectID string `mapstructure:"project_id"`
	// ServiceAccountFile is the JSON key of a service account that may send for
	// the project, readable by its owner only. Default: none, it must be given.
	ServiceAccountFile string `mapstructure:"service_account_file" config:"path"`
	// BundleID is the app's bundle identifier; VoIP pushes go to the topic
	// "<bundle>.voip". Default: none, it must be given.
	BundleID string `mapstructure:"bundle_id" config:"name"`
	// TeamID is the ten characters of the Apple developer team. Default: none,
	// it must be given.
	TeamID string `mapstructure:"team_id"`
	// Environment is auto (learned per device), production or sandbox.
	// Default: auto.
	Environment string `mapstructure:"environment" oneof:"auto|production|sandbox"`
	// Keys are the .p8 keys that sign for the app. An app needs a key or a
	// certificate; where a key serves an environment, certificates are not used
	// there. Default: none.
	Keys []Key `mapstructure:"keys"`
	// VoIPCertificate is the VoIP Services certificate, for VoIP pushes.
	VoIPCertificate Certificate `mapstructure:"voip_certificate"`
	// AlertCertificate is the ordinary push certificate, for the other pushes.
	AlertCertificate Certificate `mapstructure:"alert_certificate"`
	// Payload names the template of the push: wakebridge, linphone,
	// flutter_callkit or callkeep. Default: wakebridge.
	Payload string `mapstructure:"payload" oneof:"wakebridge|linphone|flutter_callkit|callkeep"`
	// CallerName puts the caller's name and number into the push.
	// Default: true.
	CallerName bool `mapstructure:"caller_name"`
	// AlertRepeat is how often an alert push is sent again while the device is
	// being woken; 0s: never, else at least 2s. Default: 0s.
	AlertRepeat time.Duration `mapstructure:"alert_repeat" range:"0s..1m"`
	// MissedCallAlert tells the user of a missed call by an alert push, if the
	// device was woken for it and did not come. Default: true.
	MissedCallAlert bool `mapstructure:"missed_call_alert"`
}

// Certificate is a TLS client certificate for APNs with its private key.
type Certificate struct {
	// File is a .p12 or .pem file with certificate and key, readable by its
	// owner only; empty: no certificate. Default: "".
	File string `mapstructure:"file" config:"path"`
	// PasswordFile holds the password of a .p12 file, readable by its owner
	// only. Default: "".
	PasswordFile string `mapstructure:"password_file" config:"path"`
}

// Key is an APNs authentication key.
type Key struct {
	// File is the .p8 file, readable by its owner only. Default: none, it must
	// be given.
	File string `mapstructure:"file" config:"path,required"`
	// ID is the ten characters Apple calls the key by. Default: none, it must be
	// given.
	ID string `mapstructure:"id" config:"name"`
	// Environment is what the key may be used for: auto (both), production or
	// sandbox. Default: auto.
	Environment string `mapstructure:"environment" oneof:"auto|production|sandbox"`
}

// APNs is Apple's push service.
type APNs struct {
	// Production is the production service, an https URL without a path.
	// Default: https://api.push.apple.com.
	Production string `mapstructure:"production"`
	// Sandbox is the service for apps built by Xcode.
	// Default: https://api.sandbox.push.apple.com.
	Sandbox string `mapstructure:"sandbox"`
	// CAFile is a PEM file of certificate authorities to trust in place of the
	// system's, for a simulator. Default: "".
	CAFile string `mapstructure:"ca_file" config:"path"`
}

// FCM is Google's push service.
type FCM struct {
	// URL is the service, an https URL without a path.
	// Default: https://fcm.googleapis.com.
	URL string `mapstructure:"url"`
	// CAFile is a PEM file of certificate authorities to trust in place of the
	// system's, for a simulator; also for the token_uri of service accounts.
	// Default: "".
	CAFile string `mapstructure:"ca_file" config:"path"`
}

// Limits are the rates and counts beyond which requests are refused. Each may
// be off.
type Limits struct {
	// RegisterPerSource is per (source, user) where a user is known.
	// Default: 20/s.
	RegisterPerSource Rate `mapstructure:"register_per_source"`
	// InvitePerSource is per source that is no trunk. Default: 50/s.
	InvitePerSource Rate `mapstructure:"invite_per_source"`
	// WakesPerUser is per called user. Default: 20/m.
	WakesPerUser Rate `mapstructure:"wakes_per_user"`
	// WakesPerCaller is per (caller, called user). Default: 6/m.
	WakesPerCaller Rate `mapstructure:"wakes_per_caller"`
	// AuthFailures bans sources that guess passwords.
	AuthFailures AuthFailures `mapstructure:"auth_failures" config:"off"`
	// Connections bounds the TCP and TLS connections.
	Connections Connections `mapstructure:"connections" config:"off"`
}

// AuthFailures bans a source that guesses passwords: Max failures within Per
// ban it for Ban. A source where a user is connected is spared, and in a banned one the
// REGISTERs of users who registered there last or were woken just now. "auth_failures: off" is Max 0.
type AuthFailures struct {
	// Max is the number of failures; 0 is off. Default: 10.
	Max int `mapstructure:"max" range:"0..1000000"`
	// Per is the time the failures are counted over. Default: 1m.
	Per time.Duration `mapstructure:"per" range:"1s..1d"`
	// Ban is how long the source stays banned. Default: 15m.
	Ban time.Duration `mapstructure:"ban" range:"1s..30d"`
}

// Off says that no source is ever banned.
func (a AuthFailures) Off() bool { return a.Max == 0 }

// Connections bounds the TCP and TLS connections. "connections: off" is 0 for
// both.
type Connections struct {
	// Total is the number of connections; 0 is no limit. Default: 20000.
	Total int `mapstructure:"total" range:"0..1000000"`
	// UnauthenticatedPerSource is the number of connections from one address
	// on which nobody has authenticated yet; 0 is no limit. Default: 64.
	UnauthenticatedPerSource int `mapstructure:"unauthenticated_per_source" range:"0..1000000"`
}
