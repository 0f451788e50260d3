package location

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// TokenKind is what a push token is for.
type TokenKind uint8

// The kinds of token. The zero kind is none.
const (
	VoIP  TokenKind = 1 + iota // PushKit; topic <bundle>.voip
	Alert                      // ordinary notifications
)

// String is "voip", "alert" or "none".
func (k TokenKind) String() string { return name(k, "none", "voip", "alert") }

// TokenSource is how we learned of a token.
type TokenSource uint8

// The sources of a token.
const (
	FromSIP  TokenSource = 1 + iota // a REGISTER
	FromHTTP                        // the app's backend
)

// String is "sip", "http" or "unknown".
func (s TokenSource) String() string { return name(s, "unknown", "sip", "http") }

// Environment is the side of APNs that knows a token.
type Environment uint8

// The environments.
const (
	UnknownEnvironment Environment = iota
	Production
	Sandbox
)

// String is "unknown", "production" or "sandbox".
func (e Environment) String() string { return name(e, "unknown", "production", "sandbox") }

func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return names[0]
}

// Token is a push token of a device. The zero Token is "no token". It prints,
// logs and encodes to JSON masked but for its last four characters; a Store
// reads Value.
type Token struct {
	Value       string // for APNs 2 to 200 hexadecimal digits in lower case, else as the app gave it
	Kind        TokenKind
	Updated     time.Time // when the device last announced it, or its backend first
	Source      TokenSource
	Environment Environment // where this token was proven to be known; unknown until a push was accepted
	// Replaced is the backend's token that a REGISTER replaced by this one; "" if
	// there was none. No REGISTER without tokens forgets such a kind.
	Replaced string
	// Throttled is when the push service last said that too many pushes went to this
	// token, and NotBefore when it should get the next one; see Throttle.
	Throttled, NotBefore time.Time
}

// CanonicalToken is the one spelling of a push token: that of APNs is hexadecimal,
// in lower case, that of FCM is as it is.
func CanonicalToken(provider, value string) string {
	if provider == "apns" {
		return strings.ToLower(value)
	}
	return value
}

// Held says that at now the push service wants no push to t.
func (t Token) Held(now time.Time) bool { return t.NotBefore.After(now) }

// IsZero says that there is no token.
func (t Token) IsZero() bool { return t.Value == "" }

// Masked is the token's last four characters behind an ellipsis, less for a
// short token, "" for none.
func (t Token) Masked() string { return mask(t.Value) }

// String is the kind and the masked value, "voip …1a2b", or "none".
func (t Token) String() string {
	if t.IsZero() {
		return "none"
	}
	return t.Kind.String() + " " + t.Masked()
}

// GoString masks the token under %#v too.
func (t Token) GoString() string { return fmt.Sprintf("location.Token(%q)", t.String()) }

// MarshalJSON masks the token: what we show is never what we store.
func (t Token) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(struct {
		Value       string    `json:"value"`
		Kind        string    `json:"kind"`
		Updated     time.Time `json:"updated"`
		Source      string    `json:"source"`
		Environment string    `json:"environment"`
	}{t.Masked(), t.Kind.String(), t.Updated, t.Source.String(), t.Environment.String()})
}

// PushInfo is how to push to a device (RFC 8599 s4.1).
type PushInfo struct {
	Provider    string      // "apns" or "fcm"; "" if the device announced none
	BundleID    string      // the app, without team and service; for "fcm" its project
	TeamID      string      // "" if the app did not say
	Environment Environment // what the app said (apns.dev: Sandbox); see EnvironmentOf
	VoIP        Token       // the one token of an app on FCM is this
	Alert       Token
	FateHeader  bool // the Contact had +x-wake-fate: the app reads X-Call-Ended
}

// Token is the token of that kind, the zero Token if there is none.
func (p PushInfo) Token(kind TokenKind) Token {
	switch kind {
	case VoIP:
		return p.VoIP
	case Alert:
		return p.Alert
	}
	return Token{}
}

// HasToken says whether there is any token.
func (p PushInfo) HasToken() bool { return !p.VoIP.IsZero() || !p.Alert.IsZero() }

// EnvironmentOf is where to send a push to the token of that kind: what was
// learned, else what the app said.
func (p PushInfo) EnvironmentOf(kind TokenKind) Environment {
	if e := p.Token(kind).Environment; e != UnknownEnvironment {
		return e
	}
	return p.Environment
}

// Quiet is the token that takes a push of which the user sees nothing. FCM has one token
// for all.
func (p PushInfo) Quiet() TokenKind {
	if p.Provider == "fcm" {
		return VoIP
	}
	return Alert
}

// canonical is p with its tokens in their one spelling.
func (p PushInfo) canonical() PushInfo {
	p.VoIP.Value, p.Alert.Value = CanonicalToken(p.Provider, p.VoIP.Value), CanonicalToken(p.Provider, p.Alert.Value)
	return p
}

func (p *PushInfo) token(kind TokenKind) *Token {
	if kind == VoIP {
		return &p.VoIP
	}
	return &p.Alert
}
