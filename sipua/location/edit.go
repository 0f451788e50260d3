package location

import (
	"time"

	"wakebridge/sipua"
)

// Edit is one write to Memory: Upsert, Announce, RemoveBinding, RemoveToken,
// SetEnvironment, Throttle, PushReport, Reached, Refreshed, MarkLoggedOut, FlowGone,
// Expire, PutFate.
type Edit interface{ edit() }

// Announcement says what a REGISTER said about push.
type Announcement uint8

// The announcements.
const (
	// NoTokens: no pn-prid and no query. The tokens that came by SIP are
	// forgotten unless a REGISTER with tokens follows within Rules.Grace.
	NoTokens Announcement = iota
	// Query: pn-provider without pn-prid (RFC 8599 s4.1.5); tokens stay.
	Query
	// Tokens: pn-prid was there; Upsert.Push replaces what SIP said before.
	Tokens
)

// Upsert is one Contact of an authorised REGISTER with a lifetime above 0.
// Memory finds the device it belongs to (see MatchDevice) or makes one.
type Upsert struct {
	AOR         sipua.AOR
	Binding     Binding // Registered and Expires set; Instance by InstanceID
	Announced   Announcement
	Push        PushInfo // FateHeader always; the rest with Announced == Tokens, of each token the Value alone
	InCall      bool     // the device is in a call: NoTokens forgets nothing
	MaxContacts int      // per AOR, 0: no limit; the oldest idle one goes
}

// Announce is what an app's backend says over HTTP. Tokens that it names
// replace those of the same kind, and no REGISTER without tokens forgets them; those
// that it named before and does not name now are forgotten. What it named before
// and names again changes nothing, not even back what a REGISTER replaced since. A
// token that was called dead less than a day ago is not taken (TokenDead). It needs
// an instance.
type Announce struct {
	AOR         sipua.AOR
	Instance    string // as InstanceID returns it
	Push        PushInfo
	At          time.Time
	MaxContacts int
}

// RemoveBinding is one Contact with expires=0, or with Contact "*" all of the
// AOR's. What the same instance left at another address before goes too, if it uses
// no reg-id. A device that has no Contact left is logged out Rules.Grace later,
// unless it registers before. With "*" that is the device that sent it, if it can be
// told; the others fall asleep.
type RemoveBinding struct {
	AOR      sipua.AOR
	Contact  string
	RegID    int    // reg-id of the Contact; 0: any
	Instance string // finds a device whose binding has already expired; not with "*"
	Token    string // the same, by pn-prid
	By       Sender // with "*", which names no device
	At       time.Time
}

// Sender is what a request tells of the device that sent it.
type Sender struct {
	Flow      FlowID
	CallID    string
	UserAgent string
}

// RemoveToken forgets a token that the provider calls dead, in every device
// that has it, unless the device announced it later than NotAfter (the
// timestamp of APNs' 410, else the time of the push).
type RemoveToken struct {
	Kind     TokenKind
	Value    string
	NotAfter time.Time
	// Gone: the service knew it and says that the app is removed or has another (410,
	// UNREGISTERED). A token that it does not know may be good in another environment or
	// for another app.
	Gone bool
}

// SetEnvironment notes the APNs environment in which a token was accepted, in
// every device that has the token.
type SetEnvironment struct {
	Kind        TokenKind
	Value       string
	Environment Environment
}

// Throttle notes that the push service refused a push because too many went to this
// token (APNs: 429 TooManyRequests), in every device that has it. The token is held
// for 30 s, twice as long if it is said again within 10 min of the end of that, at
// most for 10 min.
type Throttle struct {
	Kind  TokenKind
	Value string
	At    time.Time
}

// PushReport counts a push in the device's health.
type PushReport struct {
	AOR      sipua.AOR
	Key      string
	Kind     TokenKind
	Accepted bool
	Reason   string    // the provider's, when it refused
	Sent     time.Time // when it left; zero: unknown
	At       time.Time
}

// Reached says that a device that was pushed answered a request of ours: it need
// not register to prove that it came, its old connection may have lived.
type Reached struct {
	AOR sipua.AOR
	Key string
	At  time.Time
}

// Refreshed counts a background push that asks the device to register again,
// whatever becomes of it.
type Refreshed struct {
	AOR sipua.AOR
	Key string
	At  time.Time
}

// MarkLoggedOut makes a device unwakeable at once until it registers again:
// the operator's or the app backend's wish.
type MarkLoggedOut struct {
	AOR sipua.AOR
	Key string
	At  time.Time
}

// FlowGone takes a closed flow from every binding that has it. The devices
// stay: they sleep.
type FlowGone struct{ Flow FlowID }

// Expire ends what is over at Now: bindings, log-outs and token removals that
// are due, devices beyond Rules.DeviceTTL, fates.
type Expire struct {
	Now time.Time
	// InCall says that a device is in a call: its tokens are not forgotten
	// now. May be nil. It must not call Memory.
	InCall func(Ref) bool
}

// PutFate records a fate, or sets the KeepUntil of one recorded before (which
// stays told if it was).
type PutFate struct{ Fate Fate }

func (Upsert) edit()         {}
func (Announce) edit()       {}
func (RemoveBinding) edit()  {}
func (RemoveToken) edit()    {}
func (SetEnvironment) edit() {}
func (Throttle) edit()       {}
func (PushReport) edit()     {}
func (Reached) edit()        {}
func (Refreshed) edit()      {}
func (MarkLoggedOut) edit()  {}
func (FlowGone) edit()       {}
func (Expire) edit()         {}
func (PutFate) edit()        {}

// ChangeKind says what happened to a device.
type ChangeKind uint8

// The kinds of change.
const (
	Registered    ChangeKind = 1 + iota // a REGISTER was authorised; Change.Flow is its flow, which may be the same as before
	FlowLost                            // Change.Flow closed; the device sleeps unless it has another flow
	Unregistered                        // the device removed a Contact
	Expired                             // a binding ran out
	TokensChanged                       // a token came, went or learned its environment
	LoggedOut                           // no longer wakeable by its own, the operator's or the backend's wish
	Removed                             // forgotten; Change.Device is its last state
)

// String is the kind in lower case, words joined by a hyphen.
func (k ChangeKind) String() string {
	return name(k, "none", "registered", "flow-lost", "unregistered", "expired", "tokens-changed", "logged-out", "removed")
}

// Change tells a watcher of an AOR what happened to one of its devices.
type Change struct {
	Kind   ChangeKind
	Device Device // after the change
	Flow   FlowID // of the binding concerned; 0 if it had none
	Seq    uint64 // grows with each change of the Memory
}

// NoteKind says what an operator ought to know of an Apply.
type NoteKind uint8

// The kinds of note.
const (
	TokenTaken   NoteKind = 1 + iota // By registered with a token that Device had used; Device lost it
	TokenRefused                     // Device asked for a token that By uses, and did not get it
	Evicted                          // Device (or one of its Contacts) made room in its AOR for By
	Suspected                        // VoIP pushes do not wake Device any more (see Device.Suspected); told once
	Recovered                        // Device was Suspected, and registered or answered
	TokenDead                        // a backend named a token for Device that its push service had called dead; it was not taken
)

// String is the kind in lower case, words joined by a hyphen.
func (k NoteKind) String() string {
	return name(k, "none", "token-taken", "token-refused", "evicted", "suspected", "recovered", "token-dead")
}

// Note reports something unusual that an Apply did.
type Note struct {
	Kind   NoteKind
	Device Ref
	By     Ref
	Token  string // masked; "" where no token is concerned
	Edit   int    // the index of the edit that did it, among those of its Apply
}
