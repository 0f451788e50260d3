package header

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Provider is a push notification service under its registered name (RFC 8599
// s10 to s12).
type Provider string

// The services that ParsePush knows. That it parses one does not say that this
// server sends by it: the registrar answers 555 for what is not configured.
const (
	APNs    Provider = "apns"
	FCM     Provider = "fcm"
	WebPush Provider = "webpush"
)

// Environment is the APNs environment that a device token belongs to, as far as
// the Contact says.
type Environment string

// A Contact with plain "apns" does not say: debug builds send it as well. What is
// unknown is learned from APNs' answer.
const (
	EnvironmentUnknown Environment = ""
	Production         Environment = "production"
	Sandbox            Environment = "sandbox"
)

// Query is the kind of capability query a Contact makes (RFC 8599 s4.1.5): a
// pn-provider without pn-prid. It never arms push.
type Query uint8

const (
	// QueryNone: not a query.
	QueryNone Query = iota
	// QueryAll: pn-provider has no value; the answer lists every service.
	QueryAll
	// QueryOne: pn-provider has a value; the answer names that service only.
	QueryOne
)

// Push is what the push parameters of a Contact say. The zero Push is a Contact
// without any (plain SIP). It holds secrets: print it only through its own
// methods, which mask tokens.
type Push struct {
	// Present: the Contact names a service, be it as a query.
	Present bool
	// Sent is pn-provider (or the legacy pn-type) as the client spelt it.
	Sent string
	// Provider is the service in its registered spelling; "apns" for "apns.dev".
	Provider Provider
	// Environment is said by the provider's or app-id's suffix only.
	Environment Environment
	// TeamID is the developer team, "" if the client left it out.
	TeamID string
	// BundleID is the app without team and service, for example
	// "com.example.phone". For FCM it is empty.
	BundleID string
	// VoIPToken and AlertToken are APNs device tokens, lower-case hexadecimal, 2
	// to 200 characters; "" if not announced.
	VoIPToken  string
	AlertToken string
	// Token is pn-prid of a service other than APNs, as sent.
	Token string
	// Param is pn-param (or app-id) as sent; for FCM the project.
	Param string
	// Query is set instead of tokens.
	Query Query
	// Legacy: spelt in the parameters that preceded RFC 8599.
	Legacy bool
}

// HasToken says that the Contact announces at least one token to push to.
func (p Push) HasToken() bool {
	return p.VoIPToken != "" || p.AlertToken != "" || p.Token != ""
}

// String describes the parameters for people, tokens masked but for four
// characters.
func (p Push) String() string {
	if !p.Present {
		return "no push"
	}
	var b strings.Builder
	for _, a := range p.attrs() {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.Key + "=" + a.Value.String())
	}
	return b.String()
}

// GoString keeps %#v from printing tokens.
func (p Push) GoString() string { return "header.Push{" + p.String() + "}" }

// LogValue is the masked form for slog.
func (p Push) LogValue() slog.Value { return slog.GroupValue(p.attrs()...) }

func (p Push) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.Bool("present", p.Present)}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, Clean(value)))
		}
	}
	add("provider", string(p.Provider))
	if !strings.EqualFold(p.Sent, string(p.Provider)) {
		add("sent", p.Sent)
	}
	add("environment", string(p.Environment))
	add("team", p.TeamID)
	add("app", p.BundleID)
	add("voip", Mask(p.VoIPToken))
	add("alert", Mask(p.AlertToken))
	add("token", Mask(p.Token))
	switch p.Query {
	case QueryAll:
		add("query", "all")
	case QueryOne:
		add("query", "one")
	}
	if p.Legacy {
		attrs = append(attrs, slog.Bool("legacy", true))
	}
	return attrs
}

// Mask hides a token but for its last four characters; of a token shorter than
// twelve nothing is shown. The mask of "" is "".
func Mask(token string) string {
	switch {
	case token == "":
		return ""
	case len(token) < 12:
		return "…"
	}
	return "…" + token[len(token)-4:]
}

// maxPushValue bounds one push parameter: FCM gives no length for its
// registration tokens, the longest that there are.
const maxPushValue = 4096

// ParsePush reads the push parameters of a Contact (RFC 8599 s8.7) from its URI
// and, for clients that put them there, from the header parameters. It
// understands besides RFC 8599: Linphone's double token
// (pn-param=TEAM.bundle.remote&voip;pn-prid=T1:remote&T2:voip, in either order),
// the providers "apns.dev" and "apns-sandbox", bundle ids without a team, and the
// older pn-type/app-id/pn-tok and pn-voip-tok/pn-im-tok.
//
// A pn-prid without a value counts as absent. Errors wrap ErrMalformed or
// ErrUnsafe (answer 400) or ErrUnsupportedProvider (555); with the latter, Present
// and Sent are set. No error repeats a token.
func ParsePush(contact sip.ContactHeader) (Push, error) {
	r := pushReader{contact: contact}
	provider, named := r.get("pn-provider")
	prid, _ := r.get("pn-prid")
	param, _ := r.get("pn-param")
	if r.err != nil {
		return Push{}, r.err
	}
	if !named {
		return r.legacy()
	}
	p := Push{Present: true, Sent: provider, Param: param}
	if provider == "" {
		if prid != "" {
			return Push{}, fmt.Errorf("pn-prid with an empty pn-provider: %w", ErrMalformed)
		}
		p.Query = QueryAll
		return p, nil
	}
	var known bool
	if p.Provider, p.Environment, known = normalProvider(provider); !known {
		return p, fmt.Errorf("pn-provider %q: %w", provider, ErrUnsupportedProvider)
	}
	if prid == "" {
		p.Query = QueryOne
		return p.withTopic()
	}
	if p.Provider == APNs {
		return p.withAPNs(prid)
	}
	if p.Provider == FCM {
		return p.withFCM(prid)
	}
	p.Token = prid
	return p, nil
}

// withFCM reads the one token of an Android app and its project (RFC 8599 s11).
func (p Push) withFCM(prid string) (Push, error) {
	switch {
	case p.Param == "":
		return Push{}, fmt.Errorf("pn-param is missing: %w", ErrMalformed)
	case !isFCMToken(prid):
		return Push{}, fmt.Errorf("pn-prid is not an FCM registration token: %w", ErrMalformed)
	}
	p.Token = prid
	return p, nil
}

// isFCMToken says whether s may be a registration token: Google documents no
// form; those known are base64url with colons.
func isFCMToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(":_-.=+/~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// WakeToken is the token of pushes that start the app: of two APNs tokens the
// one for VoIP, of other services the only one.
func (p Push) WakeToken() string { return cmp.Or(p.VoIPToken, p.Token) }

// App is what the app's push service knows it by: the bundle id, for FCM the
// project.
func (p Push) App() string {
	if p.Provider == APNs {
		return p.BundleID
	}
	return p.Param
}

// withTopic fills team and bundle of a query. A query need not name the app, so
// what does not parse is left out.
func (p Push) withTopic() (Push, error) {
	if p.Provider == APNs && p.Param != "" {
		if t, err := parseTopic(p.Param); err == nil {
			p.TeamID, p.BundleID = t.team, t.bundle
		}
	}
	return p, nil
}

// normalProvider maps a spelling of pn-provider to the registered one.
func normalProvider(sent string) (Provider, Environment, bool) {
	switch strings.ToLower(sent) {
	case "apns":
		return APNs, EnvironmentUnknown, true
	case "apns.dev", "apns-dev", "apns.sandbox", "apns-sandbox":
		return APNs, Sandbox, true
	case "apns.prod", "apns-prod", "apns.production", "apns-production":
		return APNs, Production, true
	case "fcm":
		return FCM, EnvironmentUnknown, true
	case "webpush":
		return WebPush, EnvironmentUnknown, true
	}
	return "", EnvironmentUnknown, false
}

// pushReader looks parameters up and keeps the first fault.
type pushReader struct {
	contact sip.ContactHeader
	err     error
}

// get is a parameter's value, unescaped (RFC 3261 s19.1.2) and out of its quotes.
func (r *pushReader) get(name string) (value string, ok bool) {
	raw, ok := Param(r.contact.Address.UriParams, name)
	if !ok {
		if raw, ok = Param(r.contact.Params, name); !ok {
			return "", false
		}
	}
	value, err := r.clear(raw)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s: %w", name, err)
	}
	return value, true
}

func (r *pushReader) clear(raw string) (string, error) {
	if len(raw) > maxPushValue {
		return "", fmt.Errorf("longer than %d bytes: %w", maxPushValue, ErrMalformed)
	}
	value, err := unquote(raw)
	if err != nil {
		return "", err
	}
	// PathUnescape names the bad escape in its error, which may be part of a token.
	value, err = url.PathUnescape(value)
	if err != nil {
		return "", fmt.Errorf("bad %%-escape: %w", ErrMalformed)
	}
	if err := Safe(value); err != nil {
		return "", err
	}
	if strings.ContainsAny(value, " \"<>") {
		return "", fmt.Errorf("space, quote or bracket: %w", ErrMalformed)
	}
	return value, nil
}
