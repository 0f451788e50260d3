package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/bridge/route"
	"wakebridge/config"
	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/header"
	"wakebridge/sipua/registrar"
)

// users are the configured users: their hashes, names and numbers.
type users struct {
	byAOR   map[sipua.AOR]config.User
	domains map[string]bool
}

func newUsers(domains []config.Domain) *users {
	u := &users{byAOR: make(map[sipua.AOR]config.User), domains: make(map[string]bool)}
	for _, d := range domains {
		u.domains[strings.ToLower(d.Name)] = true
		for _, user := range d.Users {
			u.byAOR[sipua.NewAOR(user.Name, d.Name)] = user
		}
	}
	return u
}

// has says that an AOR is one of ours.
func (u *users) has(aor sipua.AOR) bool {
	_, ok := u.byAOR[aor]
	return ok
}

// HA1 implements digest.Credentials.
func (u *users) HA1(_ context.Context, realm, username string, a digest.Algorithm) (string, bool) {
	user, ok := u.byAOR[sipua.NewAOR(username, realm)]
	hash := user.HA1MD5
	if a == digest.SHA256 {
		hash = user.HA1SHA256
	}
	switch {
	case !ok:
		return "", false
	case !hash.IsZero():
		return strings.ToLower(hash.Reveal()), true
	case !user.Password.IsZero():
		return digest.HA1(a, username, realm, user.Password.Reveal()), true
	}
	return "", false
}

// DisplayName implements bridge.Directory.
func (u *users) DisplayName(aor sipua.AOR) string { return header.Clean(u.byAOR[aor].DisplayName) }

// Number implements bridge.Directory: the user's first number.
func (u *users) Number(aor sipua.AOR) string {
	if n := u.byAOR[aor].Numbers; len(n) > 0 {
		return n[0]
	}
	return ""
}

// IsLocal implements bridge.Directory.
func (u *users) IsLocal(domain string) bool { return u.domains[strings.ToLower(domain)] }

// newAuth makes the verifiers of all domains.
func newAuth(domains []config.Domain, u *users, log *slog.Logger) (*registrar.Auth, error) {
	verifiers := make(map[string]*digest.Verifier)
	for _, d := range domains {
		opts := digest.Options{Realm: d.Name, Credentials: u}
		for _, name := range d.Auth {
			a, ok := digest.ParseAlgorithm(name)
			if !ok {
				return nil, fmt.Errorf("domains[%s].auth: digest algorithm %q is not supported", d.Name, name)
			}
			opts.Algorithms = append(opts.Algorithms, a)
		}
		v, err := digest.NewVerifier(opts)
		if err != nil {
			return nil, fmt.Errorf("domains[%s].auth: %w", d.Name, err)
		}
		verifiers[strings.ToLower(d.Name)] = v
	}
	return registrar.NewAuth(verifiers, log), nil
}

// router adapts the routing table to the bridge.
type router struct{ table *route.Table }

func newRouter(cfg *config.Config) (*router, error) {
	rc := route.Config{}
	for _, d := range cfg.Domains {
		rc.Domains = append(rc.Domains, d.Name)
		for _, u := range d.Users {
			rc.Users = append(rc.Users, route.User{Name: u.Name, Domain: d.Name, Numbers: u.Numbers})
		}
	}
	for _, t := range cfg.Trunks {
		rc.Trunks = append(rc.Trunks, t.Name)
	}
	for _, r := range cfg.Routes {
		rule := route.Rule{Name: r.Name, From: r.From, Match: r.Match, To: route.Target(r.To), User: r.User, Trunk: r.Trunk, Number: r.Number}
		if rule.To == route.Reject {
			rule.Status = r.Status
		}
		rc.Rules = append(rc.Rules, rule)
	}
	table, err := route.New(rc)
	if err != nil {
		return nil, fmt.Errorf("routes: %w", err)
	}
	return &router{table: table}, nil
}

// Route implements bridge.Router.
func (r *router) Route(q bridge.Query) bridge.Plan {
	req := route.Request{From: q.Origin.Trunk, Caller: q.Origin.Trunk, Called: called(q.Called), Host: q.Called.Host}
	if q.Origin.Trunk == "" {
		req.From, req.Caller = route.FromUsers, q.Origin.User.String()
	}
	d := r.table.Plan(req)
	p := bridge.Plan{Reason: d.Reason}
	switch d.To {
	case route.ToUser:
		p.User = sipua.NewAOR(d.User.Name, d.User.Domain)
	case route.ToTrunk:
		p.Trunk, p.Number = d.Trunk, d.Number
	default:
		p.Status = d.Status
	}
	return p
}

func called(uri sip.Uri) string {
	if uri.User == "" {
		return uri.Raw()
	}
	return uri.User
}
