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
	if b.Instance == "" && len(tokens) == 0 && len(devices) == 1 && devices[0].Push.hasFrom(FromHTTP) {
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

func (p PushInfo) hasFrom(source TokenSource) bool {
	return !p.VoIP.IsZero() && p.VoIP.Source == source || !p.Alert.IsZero() && p.Alert.Source == source
}

// announce is what a device's push state becomes when source names new: each
// token of new replaces the one of its kind, and a kind that new lacks is
// forgotten if it came from the same source. The environment learned for a
// token stays as long as the token does.
func (p PushInfo) announce(new PushInfo, source TokenSource, at time.Time) PushInfo {
	out := new
	for _, kind := range []TokenKind{VoIP, Alert} {
		old, t := p.Token(kind), new.Token(kind)
		switch {
		case t.IsZero() && !old.IsZero() && old.Source != source:
			t = old
		case t.IsZero():
			t = Token{}
		default:
			t = Token{Value: t.Value, Kind: kind, Source: source, Updated: at}
			if t.Value == old.Value {
				t.Environment = old.Environment
				t.Source = max(source, old.Source) // once announced over HTTP, no REGISTER forgets it
			}
		}
		*out.token(kind) = t
	}
	if !out.HasToken() {
		out.Provider, out.BundleID, out.TeamID, out.Environment = "", "", "", UnknownEnvironment
	}
	return out
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

func fromSIP(t Token) bool { return t.Source == FromSIP }

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
