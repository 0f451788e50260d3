package header

import (
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// legacy reads what clients sent before RFC 8599: pn-type, app-id, pn-tok, or for
// Apple pn-voip-tok and pn-im-tok. Without any token it is plain SIP.
func (r *pushReader) legacy() (Push, error) {
	kind, hasKind := r.get("pn-type")
	app, _ := r.get("app-id")
	tok, _ := r.get("pn-tok")
	voip, _ := r.get("pn-voip-tok")
	alert, _ := r.get("pn-im-tok")
	if r.err != nil {
		return Push{}, r.err
	}
	if tok == "" && voip == "" && alert == "" {
		return Push{}, nil
	}
	p := Push{Present: true, Sent: kind, Param: app, Legacy: true}
	switch strings.ToLower(kind) {
	case "apple", "":
		if !hasKind && tok != "" {
			return Push{}, fmt.Errorf("pn-tok without pn-type: %w", ErrMalformed)
		}
		return p.withLegacyAPNs(tok, voip, alert)
	case "firebase", "google", "android":
		p.Provider = FCM
		if tok == "" || app == "" {
			return Push{}, fmt.Errorf("pn-tok or app-id is missing: %w", ErrMalformed)
		}
		return p.withFCM(tok)
	}
	return p, fmt.Errorf("pn-type %q: %w", kind, ErrUnsupportedProvider)
}

// withLegacyAPNs reads app-id, a bundle id that may end in ".voip" and then in
// ".dev" or ".prod". That suffix is the environment here (in pn-param it would be
// part of the bundle id).
func (p Push) withLegacyAPNs(tok, voip, alert string) (Push, error) {
	p.Provider = APNs
	app := p.Param
	if rest, ok := strings.CutSuffix(app, ".dev"); ok {
		app, p.Environment = rest, Sandbox
	} else if rest, ok := strings.CutSuffix(app, ".prod"); ok {
		app, p.Environment = rest, Production
	}
	t, err := parseTopic(app)
	if err != nil {
		return Push{}, fmt.Errorf("app-id: %w", err)
	}
	p.TeamID, p.BundleID = t.team, t.bundle
	if tok != "" {
		tokens, err := parsePRID(tok, t.services)
		if err != nil {
			return Push{}, err
		}
		p.VoIPToken, p.AlertToken = tokens[serviceVoIP], tokens[serviceAlert]
	}
	for _, extra := range []struct {
		text string
		into *string
	}{{voip, &p.VoIPToken}, {alert, &p.AlertToken}} {
		if extra.text == "" {
			continue
		}
		if *extra.into, err = parseToken(extra.text); err != nil {
			return Push{}, err
		}
	}
	return p, nil
}

// IsPushParam says that a Contact parameter belongs to push: every pn-* (those of
// RFC 8599, the older ones, and the per-device texts and timings such as pn-silent
// or pn-call-str) and app-id.
func IsPushParam(name string) bool {
	name = strings.TrimSpace(name)
	return len(name) >= 3 && strings.EqualFold(name[:3], "pn-") || strings.EqualFold(name, "app-id")
}

// StripPush is uri without its push parameters. RFC 8599 s4 forbids to show them
// to anybody but the device itself. The other parameters keep their bytes and
// their order; uri itself is not changed.
func StripPush(uri sip.Uri) sip.Uri {
	uri = *uri.Clone()
	uri.UriParams = StripPushParams(uri.UriParams)
	return uri
}

// StripPushParams is params without those that belong to push, for Contacts that
// carry them as header parameters.
func StripPushParams(params sip.HeaderParams) sip.HeaderParams {
	var kept sip.HeaderParams
	for _, kv := range params {
		if name, _ := splitKV(kv); !IsPushParam(name) {
			kept = append(kept, kv)
		}
	}
	return kept
}
