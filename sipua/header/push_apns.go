package header

import (
	"fmt"
	"slices"
	"strings"
)

// service is what a token or a topic is for.
type service string

const (
	serviceVoIP  service = "voip"
	serviceAlert service = "remote"
)

// topic is pn-param of APNs taken apart: TeamID.BundleID.service (RFC 8599 s10),
// any but the bundle optional.
type topic struct {
	team, bundle string
	services     []service
}

// maxBundle is the longest bundle id App Store Connect takes.
const maxBundle = 155

// parseTopic reads pn-param for APNs. RFC 8599 cuts the team at the first dot and
// the service at the last; since clients leave either out, a first label is the
// team only if it looks like one, and a last label the service only if it is one.
func parseTopic(param string) (topic, error) {
	var t topic
	rest := param
	if i := strings.LastIndexByte(rest, '.'); i >= 0 {
		if s := parseServices(rest[i+1:]); s != nil {
			t.services, rest = s, rest[:i]
		}
	}
	if first, after, found := strings.Cut(rest, "."); found {
		switch {
		case isTeam(first):
			t.team, rest = first, after
		case isGluedTeam(first):
			t.team, rest = first[:10], rest[10:]
		}
	}
	if !isBundle(rest) {
		return topic{}, fmt.Errorf("pn-param names no bundle id: %w", ErrMalformed)
	}
	t.bundle = rest
	return t, nil
}

// parseServices reads "voip", "remote" and both joined by "&"; nil if it is
// something else.
func parseServices(s string) []service {
	var out []service
	for part := range strings.SplitSeq(s, "&") {
		v := service(strings.ToLower(part))
		if v != serviceVoIP && v != serviceAlert || slices.Contains(out, v) {
			return nil
		}
		out = append(out, v)
	}
	return out
}

// isTeam says that a label looks like a team id: ten capitals and digits. Shorter
// ones with a digit are taken too, because Flexisip's made-up team is eight long.
func isTeam(s string) bool {
	if !isCapitalsOrDigits(s) {
		return false
	}
	return len(s) == 10 || len(s) >= 4 && len(s) < 10 && strings.ContainsAny(s, "0123456789")
}

// isGluedTeam finds a team written without its dot, "ABCDE12345com".
func isGluedTeam(s string) bool {
	return len(s) > 10 && isCapitalsOrDigits(s[:10]) && s[10] >= 'a' && s[10] <= 'z'
}

func isCapitalsOrDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if (s[i] < 'A' || s[i] > 'Z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != ""
}

// isBundle accepts labels of letters, digits, hyphen and underscore.
func isBundle(s string) bool {
	if s == "" || len(s) > maxBundle {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// withAPNs fills team, bundle and tokens.
func (p Push) withAPNs(prid string) (Push, error) {
	if p.Param == "" {
		return Push{}, fmt.Errorf("pn-param is missing: %w", ErrMalformed)
	}
	t, err := parseTopic(p.Param)
	if err != nil {
		return Push{}, err
	}
	p.TeamID, p.BundleID = t.team, t.bundle
	tokens, err := parsePRID(prid, t.services)
	if err != nil {
		return Push{}, err
	}
	p.VoIPToken, p.AlertToken = tokens[serviceVoIP], tokens[serviceAlert]
	return p, nil
}

// parsePRID reads one token or Linphone's two. A suffix (":voip", ":remote") names
// a token's service; tokens without one take the services of pn-param that no
// suffix names, in order; where pn-param has no service, the token is an ordinary
// (alert) one, as its topic is the bundle id itself.
func parsePRID(prid string, services []service) (map[service]string, error) {
	tokens := make(map[service]string, 2)
	var bare []string
	for part := range strings.SplitSeq(prid, "&") {
		text, suffix, named := strings.Cut(part, ":")
		token, err := parseToken(text)
		if err != nil {
			return nil, err
		}
		if !named {
			bare = append(bare, token)
			continue
		}
		s := parseServices(suffix)
		if len(s) != 1 || tokens[s[0]] != "" {
			return nil, fmt.Errorf("pn-prid: unknown or repeated service: %w", ErrMalformed)
		}
		tokens[s[0]] = token
	}
	if len(bare) == 0 {
		return tokens, nil
	}
	if len(services) == 0 {
		services = []service{serviceAlert}
	}
	free := slices.DeleteFunc(slices.Clone(services), func(s service) bool { return tokens[s] != "" })
	if len(free) != len(bare) {
		return nil, fmt.Errorf("pn-prid: %d tokens without a service, pn-param leaves %d services: %w",
			len(bare), len(free), ErrMalformed)
	}
	for i, token := range bare {
		tokens[free[i]] = token
	}
	return tokens, nil
}

// parseToken checks an APNs device token: 2 to 200 hexadecimal characters. Their
// number is Apple's to change, RFC 8599's own example has 15.
func parseToken(s string) (string, error) {
	if len(s) < 2 || len(s) > 200 {
		return "", fmt.Errorf("device token of %d characters: %w", len(s), ErrMalformed)
	}
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		if (s[i] < '0' || s[i] > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("device token is not hexadecimal: %w", ErrMalformed)
		}
	}
	return strings.ToLower(s), nil
}
