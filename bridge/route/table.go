package route

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// FromUsers is the From of calls that an authenticated user makes; no trunk may
// have this name.
const FromUsers = "users"

// Target is the kind of thing a call goes to.
type Target string

// The targets.
const (
	ToUser  Target = "user"
	ToTrunk Target = "trunk"
	Reject  Target = "reject"
)

// User is somebody who can be called.
type User struct {
	Name    string   // user part of the AOR
	Domain  string   // one of ours
	Numbers []string // called numbers that mean this user; unique over all domains
}

// AOR is the user as name@domain, the domain in lower case.
func (u User) AOR() string { return u.Name + "@" + strings.ToLower(u.Domain) }

// Rule is one entry of routes.
type Rule struct {
	// Name is unique.
	Name string
	// From is the name of a trunk, FromUsers, or empty for every call.
	From string
	// Match is a regular expression (RE2), not anchored, on the called number.
	Match string
	// To says which of the next fields counts.
	To Target
	// User is name or name@domain, for ToUser. May hold $1 as Number.
	User string
	// Trunk is a trunk's name, for ToTrunk.
	Trunk string
	// Number is what is dialled at the trunk: text with $1, ${1} or ${name} for
	// groups of Match, $$ for a dollar. Empty: the called number.
	Number string
	// Status is the response for Reject, 400 to 699; 0 stands for 403.
	Status int
}

// Config is what a Table is made of.
type Config struct {
	// Domains are ours; those of Users count anyway.
	Domains []string
	Users   []User
	// Trunks are the names of all trunks.
	Trunks []string
	// Rules are tried in this order.
	Rules []Rule
}

// Table is a checked routing table. It does not change and may be used from
// several goroutines.
type Table struct {
	byNumber map[string]User
	byName   map[string][]User
	domains  map[string]bool
	rules    []rule
}

type rule struct {
	Rule
	match *regexp.Regexp
}

// New checks everything that a call could stumble over and reports all faults at
// once, each naming its rule or user and wrapping ErrBadTable.
func New(c Config) (*Table, error) {
	t := &Table{byNumber: map[string]User{}, byName: map[string][]User{}, domains: map[string]bool{}}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format+": %w", append(args, ErrBadTable)...))
	}
	for _, d := range c.Domains {
		t.domains[strings.ToLower(d)] = true
	}
	for _, u := range c.Users {
		if problem := t.addUser(u); problem != "" {
			fault("user %s: %s", u.AOR(), problem)
		}
	}
	if slices.Contains(c.Trunks, FromUsers) {
		fault("no trunk can be called %q", FromUsers)
	}
	names := map[string]bool{}
	for i, r := range c.Rules {
		if r.Name == "" || names[r.Name] {
			fault("route %d: name %q is empty or taken", i+1, r.Name)
		}
		names[r.Name] = true
		compiled, err := regexp.Compile(r.Match)
		if err != nil {
			fault("route %q: match: %s", r.Name, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
			continue
		}
		for _, problem := range t.check(r, c.Trunks, compiled) {
			fault("route %q: %s", r.Name, problem)
		}
		t.rules = append(t.rules, rule{r, compiled})
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return t, nil
}

// addUser says what is wrong with a user, "" if nothing.
func (t *Table) addUser(u User) string {
	u.Domain = strings.ToLower(u.Domain)
	if u.Name == "" || u.Domain == "" {
		return "name or domain is missing"
	}
	for _, other := range t.byName[u.Name] {
		if other.Domain == u.Domain {
			return "is there twice"
		}
	}
	t.byName[u.Name] = append(t.byName[u.Name], u)
	t.domains[u.Domain] = true
	for _, n := range u.Numbers {
		key := Normalize(n)
		if other, taken := t.byNumber[key]; taken && other.AOR() != u.AOR() {
			return fmt.Sprintf("number %s belongs to %s already", n, other.AOR())
		}
		t.byNumber[key] = u
	}
	return ""
}

// check says what is wrong with a rule whose Match is fine.
func (t *Table) check(r Rule, trunks []string, match *regexp.Regexp) []string {
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if r.From != "" && r.From != FromUsers && !slices.Contains(trunks, r.From) {
		problem("from: there is no trunk %q", r.From)
	}
	switch r.To {
	case ToTrunk:
		if !slices.Contains(trunks, r.Trunk) {
			problem("trunk: there is no trunk %q", r.Trunk)
		}
		if _, err := expand(r.Number, match, nil); err != "" {
			problem("number: %s", err)
		}
	case ToUser:
		if _, err := expand(r.User, match, nil); err != "" {
			problem("user: %s", err)
		} else if !strings.Contains(r.User, "$") {
			if _, err := t.named(r.User); err != "" {
				problem("user: %s", err)
			}
		}
	case Reject:
		if r.Status != 0 && (r.Status < 400 || r.Status > 699) {
			problem("status: %d is not between 400 and 699", r.Status)
		}
	default:
		problem("to: %q is neither user, trunk nor reject", r.To)
	}
	return problems
}

// named finds a user by name or name@domain.
func (t *Table) named(name string) (User, string) {
	local, domain, full := strings.Cut(name, "@")
	users := t.byName[local]
	if full {
		for _, u := range users {
			if strings.EqualFold(u.Domain, domain) {
				return u, ""
			}
		}
		users = nil
	}
	switch len(users) {
	case 0:
		return User{}, fmt.Sprintf("there is no user %q", name)
	case 1:
		return users[0], ""
	}
	return User{}, fmt.Sprintf("%q is the name of several users, it needs @domain", name)
}
