package bridge

import (
	"context"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
)

// Wake is one device to be woken for one call.
type Wake struct {
	AOR    sipua.AOR
	Device string // location.Device.Key
	Push   location.PushInfo
	// AlertOnly asks for an alert push, whatever the policy would choose: the
	// second chance.
	AlertOnly bool
	// VoIPOnly asks for a VoIP push or none: the alert push was sent already.
	VoIPOnly bool
	// Fleeting asks the service to deliver the push now or never: one of the other kind
	// waits there for a phone without network, and services keep one for each app, the
	// latest (Apple: "Viewing the status of push notifications").
	Fleeting   bool
	UUID       string // of the (call, device): CallKit's key
	CallID     string // of the INVITE that the device will get
	Handle     string // the caller's number or address, "" if it must not be told
	HandleType string // "phone" or "generic"
	Name       string // the caller's name, "" if unknown or private
	From, To   string // SIP URIs; From "" if private
	Video      bool
	SentAt     time.Time
	ExpiresAt  time.Time // when the app should not show the call any more
}

// WakeResult is what became of one push.
type WakeResult struct {
	Alert       bool   // an alert push, else VoIP
	Accepted    bool   // by the push service, which is no proof of delivery
	Unanswered  bool   // it was not accepted, but a request of it had no answer: it may yet wake the device
	Stopped     bool   // the device registered, or the call ended, before an answer; without Written: before it was sent
	Service     string // its name for people: "APNs"; "" if unknown
	Reason      string
	Words       string // for a person: "APNs refused the token: BadDeviceToken (sandbox token?)"
	ID          string // apns-id
	Environment string // "production", "sandbox", "" if unknown
	Written     time.Time
	At          time.Time
	Latency     time.Duration // from the order to the outcome
	Tries       int           // requests made; a hedge counts as one
	Hedged      bool          // a second request went out because the first was silent, or its answer was lost
}

// Waker sends pushes. Wake returns at once; report only posts and is called exactly
// once, from any goroutine. ctx ends when the device registered or the call is over:
// what was not sent yet need not be, and what has no answer is reported as Stopped, at
// once, because the record of the call waits for it. In the first case the cause of
// ctx's end is ErrReached.
type Waker interface {
	Wake(ctx context.Context, w Wake, report func(WakeResult))
	// Reached says that a device that was pushed has answered its INVITE, at least
	// provisionally: an app whose connection lives sends no REGISTER. It only posts.
	Reached(aor sipua.AOR, device string)
}

// Alerts is what users see of calls besides a ringing phone.
type Alerts interface {
	// Repeat is how often an alert push is sent again while its device is being
	// woken; 0: it is not.
	Repeat(p location.PushInfo) time.Duration
	// Missed tells users by an alert push of a call that they missed, unless their
	// device comes and learns it before. r is the call's record as it was appended;
	// the outcome may be added to it. Missed returns at once.
	Missed(missed []Missed, r Record)
}

// Missed is a device that was pushed for a call in vain.
type Missed struct {
	Wake
	Attempt int       // its index in Record.Attempts
	Due     time.Time // until then it may still come by itself
}

// Locator knows users' devices: location.Memory.
type Locator interface {
	// Watch gives a snapshot and subscribes in one step. post must only post.
	Watch(aor sipua.AOR, post func(location.Change)) (now []location.Device, stop func())
}

// Fates keeps what a device that registers too late is told.
type Fates interface {
	// Put only posts.
	Put(f location.Fate)
	// Take gives those that a device was not told yet over that flow, and counts them
	// as told.
	Take(d location.Ref, flow location.FlowID) []location.Fate
}

// Records keeps what became of calls. Append is called by the call's goroutine
// as its last act, or in a read loop for a call that was turned away: it must not
// wait for a disk.
type Records interface {
	// Begin notes a call that goes on, once it has targets and once it is answered:
	// what is known of it should the process die. A record without Ended.
	Begin(r Record)
	Append(r Record) error
}

// Directory knows the users.
type Directory interface {
	// DisplayName is the user's name for a callee's screen, "" if unknown.
	DisplayName(aor sipua.AOR) string
	// Number is what a trunk should see as the caller, "" for the user's name.
	Number(aor sipua.AOR) string
	// IsLocal says that a domain is ours.
	IsLocal(domain string) bool
}

// Origin is who sent an INVITE, as far as that is proven.
type Origin struct {
	Trunk string    // name of the trunk, "" for a user
	User  sipua.AOR // the user that authenticated
}

// Query asks where a call goes.
type Query struct {
	Origin Origin
	Called sip.Uri // Request-URI
}

// Plan is where a call goes: a user, a trunk, or nowhere.
type Plan struct {
	User   sipua.AOR
	Trunk  string
	Number string // dialled at the trunk
	Status int    // refuse with this status; 0: do not
	Reason string // for a person: which rule decided, or why none did
}

// Router decides where calls go. Route is pure and quick.
type Router interface {
	Route(q Query) Plan
}

// Verifier checks the credentials of a user's INVITE.
type Verifier interface {
	// Verify returns the user that req proves to come from, or the error to
	// answer with: a *sipua.Rejection with the challenge.
	Verify(req *sip.Request) (sipua.AOR, error)
}
