package config

import (
	"net/netip"
	"time"
)

// Domain is one SIP domain and its users.
type Domain struct {
	// Name is the domain, a host name or an address; it is the digest realm as
	// well. Default: none, it must be given.
	Name string `mapstructure:"name" config:"required,name"`
	// Auth are the digest algorithms offered, in this order.
	// Default: md5, sha-256.
	Auth []string `mapstructure:"auth" oneof:"md5|sha-256"`
	// MaxContacts is the number of contacts an AOR may have. Default: 5.
	MaxContacts int `mapstructure:"max_contacts" range:"1..100"`
	// Expires bounds the registrations without push.
	Expires Expires `mapstructure:"expires"`
	// Users are the domain's users. Default: none.
	Users []User `mapstructure:"users"`
}

// Expires bounds the lifetime of registrations without push (RFC 3261
// s10.2.1.1).
type Expires struct {
	// Min is the shortest; less is answered 423. Default: 60s.
	Min time.Duration `mapstructure:"min" range:"10s..365d"`
	// Default is for a REGISTER that names none. Default: 1h.
	Default time.Duration `mapstructure:"default" range:"10s..365d"`
	// Max is the longest; more is shortened. Default: 30d.
	Max time.Duration `mapstructure:"max" range:"10s..365d"`
}

// User is somebody with an AOR, name@domain.
type User struct {
	// Name is the user part of the AOR. Default: none, it must be given.
	Name string `mapstructure:"name" config:"required,name"`
	// Password stands for the hashes of all algorithms; Load fills it from
	// PasswordFile. Default: "".
	Password Secret `mapstructure:"password"`
	// PasswordFile is a file with the password. Default: "".
	PasswordFile string `mapstructure:"password_file" config:"path"`
	// HA1MD5 is MD5(name:domain:password) in hex, in place of a password.
	// Default: "".
	HA1MD5 Secret `mapstructure:"ha1_md5"`
	// HA1MD5File is a file with HA1MD5. Default: "".
	HA1MD5File string `mapstructure:"ha1_md5_file" config:"path"`
	// HA1SHA256 is SHA-256(name:domain:password) in hex, in place of a
	// password. Default: "".
	HA1SHA256 Secret `mapstructure:"ha1_sha256"`
	// HA1SHA256File is a file with HA1SHA256. Default: "".
	HA1SHA256File string `mapstructure:"ha1_sha256_file" config:"path"`
	// DisplayName is shown to those the user calls. Default: "".
	DisplayName string `mapstructure:"display_name"`
	// Numbers are the called numbers that ring the user, unique over all
	// domains. Default: none.
	Numbers []string `mapstructure:"numbers"`
}

// Trunk is a link to a PBX or carrier.
type Trunk struct {
	// Name is unique; routes, logs and metrics use it. Default: none, it must
	// be given.
	Name string `mapstructure:"name" config:"required,name"`
	// Kind is peer: known by its address, without registration. Default: none,
	// it must be given.
	Kind string `mapstructure:"kind" config:"required" oneof:"peer" later:"register|extension"`
	// Match are the source addresses whose requests are this trunk's; an
	// address without a length is one host. Default: none, it must be given.
	Match []netip.Prefix `mapstructure:"match" config:"required"`
	// Contact is the SIP URI that requests to the trunk go to. Default: none,
	// it must be given.
	Contact string `mapstructure:"contact" config:"required"`
	// Qualify is the time between two OPTIONS to the trunk; 0s sends none.
	// Default: 30s.
	Qualify time.Duration `mapstructure:"qualify" range:"0s..1d"`
	// MaxCalls is the number of calls at once; 0 is no limit. Default: 100.
	MaxCalls int `mapstructure:"max_calls" range:"0..100000"`
	// ProgressHeader puts X-Wake-Status into each 180 to the trunk.
	// Default: false.
	ProgressHeader bool `mapstructure:"progress_header"`
	// ForceRPort is for a trunk that may be behind a NAT: responses go to the
	// port a request came from even if it did not ask for that (RFC 3581),
	// requests within a call stay there unless its Contact is another host of the
	// trunk, and audio may come from the address of its signalling, whatever its SDP names.
	// Default: true.
	ForceRPort bool `mapstructure:"force_rport"`
	// TrustIdentity takes the caller from P-Asserted-Identity (RFC 3325).
	// Default: false.
	TrustIdentity bool `mapstructure:"trust_identity"`
}

// Route says where a call goes that the built-in rule did not place.
type Route struct {
	// Name is unique; logs and "route test" use it. Default: none, it must be
	// given.
	Name string `mapstructure:"name" config:"required,name"`
	// From is "users", the name of a trunk, or empty for every caller.
	// Default: "".
	From string `mapstructure:"from"`
	// Match is a regular expression (RE2) over the called number. Default: none,
	// it must be given.
	Match string `mapstructure:"match" config:"required"`
	// To is trunk, user or reject. Default: none, it must be given.
	To string `mapstructure:"to" config:"required" oneof:"trunk|user|reject"`
	// Trunk is the name of the trunk the call goes to. Default: "".
	Trunk string `mapstructure:"trunk"`
	// Number is what is dialled at the trunk: text with $1 or ${name} for groups
	// of Match and $$ for a dollar; empty means the called number. Default: "".
	Number string `mapstructure:"number"`
	// User is the user the call goes to: a name, or name@domain where several
	// domains have that name; may hold $1 as Number. Default: "".
	User string `mapstructure:"user"`
	// Status is what a call is rejected with, 400 to 699. Default: 403.
	Status int `mapstructure:"status" range:"400..699"`
}

// Calls holds the deadlines and policies of a call.
type Calls struct {
	// RingTimeout counts from the INVITE until an answer; CallKit ends an
	// unanswered call 60 s after its report. Default: 50s.
	RingTimeout time.Duration `mapstructure:"ring_timeout" range:"1s..10m"`
	// MaxDuration is the longest an answered call lasts. Default: 4h.
	MaxDuration time.Duration `mapstructure:"max_duration" range:"1s..30d"`
	// Decline says whom a 603 or 600 of one device ends: all or one.
	// Default: all.
	Decline string `mapstructure:"decline" oneof:"all|one"`
	// DeclineWindow counts from a device's 180; a decline after it is taken as
	// no answer, since apps time out by declining. Default: 28s.
	DeclineWindow time.Duration `mapstructure:"decline_window" range:"0s..10m"`
	// MergeWindow is the time in which the same caller reaching the same user
	// again over one trunk is answered 486 without a push; 0s is off.
	// Default: 2s.
	MergeWindow time.Duration `mapstructure:"merge_window" range:"0s..1m"`
	// Waiting says what another call does to a device in a call: ring or busy.
	// Default: ring.
	Waiting string `mapstructure:"waiting" oneof:"ring|busy"`
	// DrainTimeout is how long a drain waits for calls to end. Default: 5m.
	DrainTimeout time.Duration `mapstructure:"drain_timeout" range:"0s..1d"`
}
