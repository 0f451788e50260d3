package location

import (
	"cmp"
	"slices"
	"time"
)

// Rules are the registrar's settings that decide about devices.
type Rules struct {
	DeviceTTL   time.Duration // a device stays wakeable so long after it was last seen; 0: 90 days
	Grace       time.Duration // log-out and token removal count after so long; 0: 60 s
	FateTTL     time.Duration // a fate found at the start is kept so long; 0: 5 min
	AfterExpiry bool          // push to devices whose bindings expired too (against RFC 8599 s5.5)
	SharedToken SharedToken
}

func (r Rules) withDefaults() Rules {
	r.DeviceTTL = cmp.Or(r.DeviceTTL, 90*24*time.Hour)
	r.Grace = cmp.Or(r.Grace, time.Minute)
	r.FateTTL = cmp.Or(r.FateTTL, 5*time.Minute)
	return r
}

// Wakeable says whether a push may be sent to d at now.
func (r Rules) Wakeable(d Device, now time.Time) bool {
	r = r.withDefaults()
	if !d.Push.HasToken() || !d.LoggedOut.IsZero() || now.Sub(d.LastSeen) >= r.DeviceTTL {
		return false
	}
	return r.AfterExpiry || slices.ContainsFunc(d.Bindings, func(b Binding) bool { return b.Expires.After(now) })
}

// keep says whether there is a reason to remember d at now: it has a binding,
// it may still be woken, or the app's backend announced a token that it will
// not announce again when the user logs in again.
func (r Rules) keep(d Device, now time.Time) bool {
	if len(d.Bindings) > 0 {
		return true
	}
	if now.Sub(d.LastSeen) >= r.DeviceTTL {
		return false
	}
	return d.Push.HasToken()
}

// due is when something about d has to be done by an Expire; zero: never.
func (r Rules) due(d Device) time.Time {
	var at time.Time
	first := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	for _, b := range d.Bindings {
		first(b.Expires)
	}
	first(d.LogoutDue)
	first(d.TokensDue)
	if len(d.Bindings) == 0 {
		first(d.LastSeen.Add(r.DeviceTTL))
	}
	return at
}

// MatchDevice finds the device of an AOR that a REGISTER with that binding and
// those push tokens ("" are ignored) comes from. It returns the device's key,
// or false for a device not seen before.
//
// A device is its instance. Without one on either side it is its token; then
// its contact, unless both have tokens and these differ: then two phones behind
// two NATs may show the same private address, and only the same flow or
// Call-ID proves that it is one phone whose token changed.
func MatchDevice(devices []Device, b Binding, tokens ...string) (string, bool) {
	tokens = slices.DeleteFunc(slices.Clone(tokens), func(t string) bool { return t == "" })
	find := func(is func(Device) bool) (string, bool) {
		if i := slices.IndexFunc(devices, is); i >= 0 {
			return devices[i].Key, true
		}
		return "", false
	}
	// Two different instances are never one device.
	mayBe := func(d Device) bool { return b.Instance == "" || d.Instance == "" }

	if b.Instance != "" {
		if key, ok := find(func(d Device) bool { return d.Instance == b.Instance }); ok {
			return key, true
		}
	}
	if key, ok := find(func(d Device) bool {
		return mayBe(d) && slices.ContainsFunc(tokens, d.Push.has)
	}); ok {
		return key, true
	}
	contact := NormalContact(b.Contact)
	if key, ok := find(func(d Device) bool {
		return mayBe(d) && slices.ContainsFunc(d.Bindings, func(old Binding) bool {
			return NormalContact(old.Contact) == contact &&
				(len(tokens) == 0 || !d.Push.HasToken() || sameUA(old, b))
		})
	}); ok {
		return key, true
	}
	// A SIP stack that sends neither instance nor token: the backend announced
	// the token for the user's only device.
	if b.Instance == "" && len(tokens) == 0 && len(devices) == 1 && devices[0].Push.any(Token.backed) {
		return devices[0].Key, true
	}
	key := NewKey(b.Instance, firstOf(tokens), b.Contact)
	return find(func(d Device) bool { return d.Key == key })
}

func sameUA(a, b Binding) bool {
	return a.Flow != 0 && a.Flow == b.Flow || a.CallID != "" && a.CallID == b.CallID
}

func firstOf(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

func (p PushInfo) has(token string) bool {
	return token != "" && (p.VoIP.Value == token || p.Alert.Value == token)
}

func (p PushInfo) any(is func(Token) bool) bool {
	return !p.VoIP.IsZero() && is(p.VoIP) || !p.Alert.IsZero() && is(p.Alert)
}

// announce is what a device's push state becomes when source names new: each
// token of new follows the one of its kind. Tokens of an app that new is not for are
// gone: no push could be sent to both.
func (p PushInfo) announce(new PushInfo, source TokenSource, at time.Time) PushInfo {
	out := new
	if !new.HasToken() { // it names no app either
		out.Provider, out.BundleID, out.TeamID, out.Environment = p.Provider, p.BundleID, p.TeamID, p.Environment
	}
	sameApp := p.sameApp(out)
	if sameApp {
		out.TeamID = cmp.Or(out.TeamID, p.TeamID)
	}
	for _, kind := range []TokenKind{VoIP, Alert} {
		old, t := p.Token(kind), new.Token(kind)
		switch {
		case t.IsZero() && sameApp:
			*out.token(kind) = old.unnamed(source)
		case t.IsZero():
			*out.token(kind) = Token{}
		default:
			t = Token{Value: t.Value, Kind: kind, Source: source, Updated: at}
			*out.token(kind) = old.follow(t, sameApp)
		}
	}
	if !out.HasToken() {
		out.Provider, out.BundleID, out.TeamID, out.Environment = "", "", "", UnknownEnvironment
	}
	return out
}

// sameApp says that tokens of both belong to one app. Not everybody names the team.
func (p PushInfo) sameApp(other PushInfo) bool {
	return p.Provider == other.Provider && p.BundleID == other.BundleID &&
		(p.TeamID == other.TeamID || p.TeamID == "" || other.TeamID == "")
}

// unnamed is what becomes of a token when source announces others and not this one:
// it is forgotten if source announced it. What the backend speaks for, no REGISTER
// takes away.
func (t Token) unnamed(source TokenSource) Token {
	switch {
	case source == FromSIP && !t.backed(), source == FromHTTP && t.Source == FromHTTP:
		return Token{}
	case source == FromHTTP:
		t.Replaced = "" // the backend speaks for this kind no more
	}
	return t
}

// follow is what becomes of a token when next of the same kind is announced. What
// was learned of a value stays as long as the value does. A backend repeats itself
// without asking the phone: that makes no token newer, and does not bring back the
// one that the phone's own REGISTER replaced.
func (t Token) follow(next Token, sameApp bool) Token {
	if next.Value == t.Value {
		next.Environment, next.Throttled, next.NotBefore = t.Environment, t.Throttled, t.NotBefore
	}
	if !sameApp {
		return next
	}
	switch {
	case next.Source == FromHTTP && next.Value == t.Value:
		next.Updated = t.Updated
	case next.Source == FromHTTP && next.Value == t.Replaced:
		return t
	case next.Source == FromHTTP:
	case next.Value == t.Value:
		next.Source, next.Replaced = t.Source, t.Replaced
	case next.Value == t.Replaced:
		next.Source = FromHTTP
	case t.Source == FromHTTP:
		next.Replaced = t.Value
	default:
		next.Replaced = t.Replaced
	}
	return next
}

// forget is p without the tokens that drop chooses.
func (p PushInfo) forget(drop func(Token) bool) PushInfo {
	for _, kind := range []TokenKind{VoIP, Alert} {
		if t := p.token(kind); !t.IsZero() && drop(*t) {
			*t = Token{}
		}
	}
	return p
}

// backed says that the app's backend announced a token of this kind: this one, or
// one that a REGISTER has replaced since.
func (t Token) backed() bool { return t.Source == FromHTTP || t.Replaced != "" }

// fromSIP says that SIP alone speaks for a token, so that SIP takes it away.
func fromSIP(t Token) bool { return !t.backed() }

// SharedToken is what happens when a device announces a push token that
// another device has.
type SharedToken uint8

// The rules for a shared token.
const (
	// SameInstance: one phone with several AORs keeps its token in all of
	// them; another phone takes it over.
	SameInstance SharedToken = iota
	// Newest: whoever announced it last has it, alone.
	Newest
	// Refuse: as SameInstance, but another phone takes it over only within its
	// own AOR.
	Refuse
)

// String is the word of the configuration: same_instance, newest, refuse.
func (s SharedToken) String() string { return name(s, "same_instance", "newest", "refuse") }

// Holder is a device as far as the shared-token rule looks at it.
type Holder struct {
	Device   Ref
	Instance string
}

// samePhone: without instances the token itself is what names the phone.
func (h Holder) samePhone(other Holder) bool { return h.Instance == other.Instance }

// Decide says who loses a token that newcomer, which has authenticated,
// announces and holders have. If it is refused, the second value names the
// device that keeps it.
func (s SharedToken) Decide(newcomer Holder, holders []Holder) (losers []Ref, refusedFor Ref) {
	for _, h := range holders {
		switch {
		case h.Device == newcomer.Device:
		case s == Newest:
			losers = append(losers, h.Device)
		case h.samePhone(newcomer):
		case s == Refuse && h.Device.AOR != newcomer.Device.AOR:
			return nil, h.Device
		default:
			losers = append(losers, h.Device)
		}
	}
	return losers, Ref{}
}

// place puts b in front of the device's bindings, in the place of the one it
// replaces: the same reg-id of the same instance (RFC 5626 s6), or the same
// contact URI (RFC 3261 s10.3 step 7). A woken app comes back from another port
// each time; what it left behind on a dead connection is replaced as well, for
// nobody can reach it there again.
func place(bindings []Binding, b Binding) []Binding {
	contact := NormalContact(b.Contact)
	kept := slices.DeleteFunc(slices.Clone(bindings), func(old Binding) bool {
		if b.Instance != "" && b.Instance == old.Instance && b.RegID > 0 && old.RegID > 0 {
			return b.RegID == old.RegID
		}
		if b.Instance != "" && b.Instance == old.Instance && old.Flow == 0 && isStream(old.Transport) {
			return true
		}
		return NormalContact(old.Contact) == contact
	})
	return append([]Binding{b}, kept...)
}

func isStream(transport string) bool { return transport == "tcp" || transport == "tls" }
