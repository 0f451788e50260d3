package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

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
func (u *users) DisplayName(aor sipua.AOR) string {
	return header.CleanDisplay(u.byAOR[aor].DisplayName)
}

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
