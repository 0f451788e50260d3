package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// everyUser is the name that Route.From knows for all users; no trunk may
// have it.
const everyUser = "users"

func (in *inspector) domains() {
	names, owners := map[string]holder{}, map[string]holder{}
	for i := range in.cfg.Domains {
		d := &in.cfg.Domains[i]
		path := fmt.Sprintf("domains[%d]", i)
		in.once(path+".name", strings.ToLower(d.Name), "domain", "", names)
		if d.Name != "" && !isHost(d.Name) {
			in.at(path+".name", strconv.Quote(d.Name)+" is not a host name", "write for example sip.example.com")
		}
		if len(d.Auth) == 0 {
			in.at(path+".auth", "is empty: nobody could log in", "write [md5, sha-256]")
		}
		in.unique(path+".auth", d.Auth)
		in.ordered(path+".expires", d.Expires)
		in.users(d, path, owners)
	}
	in.tenants()
}

// users checks the users of one domain; owners are the numbers of all.
func (in *inspector) users(d *Domain, domainPath string, owners map[string]holder) {
	userName := regexp.MustCompile(`^[A-Za-z0-9_.!~*'()&=+$-]{1,64}$`)
	number := regexp.MustCompile(`^\+?[A-Za-z0-9*#._-]{1,64}$`)
	names := map[string]holder{}
	for i := range d.Users {
		u := &d.Users[i]
		path := fmt.Sprintf("%s.users[%d]", domainPath, i)
		in.once(path+".name", u.Name, "user", "", names)
		if u.Name != "" && (!userName.MatchString(u.Name) || isDressed(u.Name)) {
			in.at(path+".name", strconv.Quote(u.Name)+" cannot be the user part of a SIP URI",
				"use letters, digits and . _ - at most 64; without @domain")
		}
		in.credentials(d, u, path)
		for j, n := range u.Numbers {
			numberPath := fmt.Sprintf("%s.numbers[%d]", path, j)
			if n != "" && (!number.MatchString(n) || isDressed(n)) {
				in.at(numberPath, strconv.Quote(n)+" is not a number", "write it as it is dialled, without spaces, dashes and brackets")
			}
			in.once(numberPath, n, "number", u.Name+"@"+d.Name, owners)
		}
	}
	// A call to a name must not mean one user and to the same number another.
	for i, u := range d.Users {
		for j, n := range u.Numbers {
			if owner, isName := names[n]; isName && n != u.Name {
				in.at(fmt.Sprintf("%s.users[%d].numbers[%d]", domainPath, i, j),
					strconv.Quote(n)+" is the name of another user"+in.atLine(owner.path), "give each its own")
			}
		}
	}
}

// tenants warns of numbers that are names in another domain: a call that names that domain
// reaches the name, any other the number.
func (in *inspector) tenants() {
	homes := make(map[string][]string) // domains by the names of their users
	for _, d := range in.cfg.Domains {
		for _, u := range d.Users {
			homes[u.Name] = append(homes[u.Name], d.Name)
		}
	}
	for i, d := range in.cfg.Domains {
		for j, u := range d.Users {
			for k, n := range u.Numbers {
				for _, other := range homes[n] {
					if other != d.Name {
						in.warn(fmt.Sprintf("domains[%d].users[%d].numbers[%d]", i, j, k), fmt.Sprintf("%q is also the name of a user of %s, who is reached only as %s@%s",
							n, other, n, other), "give one of them another")
					}
				}
			}
		}
	}
}

// isDressed says that a number is written with visual separators (RFC 3966
// s5.1.1), which routing takes out of called numbers: it would never match.
func isDressed(s string) bool {
	return strings.Trim(s, "0123456789+*#-.()") == "" && strings.ContainsAny(s, "0123456789") && strings.ContainsAny(s, "-.()")
}

// holder is who has a value already.
type holder struct{ path, label string }

// once reports a value that somebody has already; label is how the holder is
// called, empty if the value is its name.
func (in *inspector) once(path, value, what, label string, taken map[string]holder) {
	if value == "" {
		return
	}
	first, used := taken[value]
	switch {
	case !used:
		taken[value] = holder{path, label}
	case first.label == "":
		in.at(path, fmt.Sprintf("there is a %s %q already%s", what, value, in.atLine(first.path)), "give each its own name")
	default:
		in.at(path, fmt.Sprintf("the %s %q belongs to %s already%s", what, value, first.label, in.atLine(first.path)),
			"give each its own")
	}
}

// atLine says where path stands, if it stands in the file.
func (in *inspector) atLine(path string) string {
	if where := in.placeOf(path); where.line > 0 {
		return fmt.Sprintf(" (line %d)", where.line)
	}
	return ""
}

func (in *inspector) trunks() {
	names, sources := map[string]holder{}, map[string]holder{}
	for i, t := range in.cfg.Trunks {
		path := fmt.Sprintf("trunks[%d]", i)
		in.once(path+".name", t.Name, "trunk", "", names)
		if t.Name == everyUser {
			in.at(path+".name", `"users" means all users in a route's from`, "choose another name")
		} else {
			in.simpleName(path+".name", t.Name)
		}
		for j, prefix := range t.Match {
			if prefix.IsValid() && prefix.Bits() == 0 {
				in.at(fmt.Sprintf("%s.match[%d]", path, j), prefix.String()+" is everybody, who could then call as this trunk",
					"name the trunk's own addresses")
			} else if prefix.IsValid() {
				in.once(fmt.Sprintf("%s.match[%d]", path, j), prefix.String(), "source", "trunk "+t.Name, sources)
			}
		}
		if t.Contact != "" {
			if problem := contactFault(t.Contact); problem != "" {
				in.at(path+".contact", strconv.Quote(t.Contact)+" "+problem, `write for example "sip:10.0.0.5:5060;transport=tcp"`)
			}
		}
	}
}

// simpleName keeps names fit for metrics, HTTP paths and variables.
func (in *inspector) simpleName(path, name string) {
	if name != "" && !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`).MatchString(name) {
		in.at(path, strconv.Quote(name)+" is not a name", "use letters, digits, dot, dash and underscore, at most 64")
	}
}

func (in *inspector) routes() {
	names := map[string]holder{}
	for i, r := range in.cfg.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		in.once(path+".name", r.Name, "route", "", names)
		in.simpleName(path+".name", r.Name)
		match, err := regexp.Compile(r.Match)
		if err != nil {
			in.at(path+".match", "is not a regular expression: "+regexpProblem(err),
				`quote it with single quotes, and note that RE2 has no look-ahead: '^\+?[0-9]{3,15}$'`)
		}
		if r.From != "" && r.From != everyUser {
			in.trunkNamed(path+".from", r.From)
		}
		in.routeTarget(r, match, path)
	}
}

// routeTarget checks where a route leads; match is nil if it is at fault.
func (in *inspector) routeTarget(r Route, match *regexp.Regexp, path string) {
	if r.To == "" {
		return // reported; what the other keys are for depends on it
	}
	if r.To != "trunk" {
		in.unwanted(path+".trunk", r.Trunk, "is for routes to a trunk only")
		in.unwanted(path+".number", r.Number, "is for routes to a trunk only")
	}
	if r.To != "user" {
		in.unwanted(path+".user", r.User, "is for routes to a user only")
	}
	if _, given := in.places[path+".status"]; given && r.To != "reject" {
		in.at(path+".status", "is for to: reject only", "remove the key")
	}
	switch r.To {
	case "trunk":
		if in.needed(path+".trunk", r.Trunk, "a route to a trunk names it") {
			in.trunkNamed(path+".trunk", r.Trunk)
		}
		in.template(path+".number", r.Number, match)
	case "user":
		if in.needed(path+".user", r.User, "a route to a user names it") && !in.template(path+".user", r.User, match) {
			in.userNamed(path+".user", r.User)
		}
	}
}

// template checks the groups that a text with $1 or ${name} refers to; false if
// the text has none.
func (in *inspector) template(path, text string, match *regexp.Regexp) bool {
	rest := strings.ReplaceAll(text, "$$", "")
	if !strings.Contains(rest, "$") {
		return strings.Contains(text, "$")
	}
	references := regexp.MustCompile(`\$(?:([0-9]+)|\{([A-Za-z0-9_]+)\})`)
	if strings.Contains(references.ReplaceAllString(rest, ""), "$") {
		in.at(path, strconv.Quote(text)+" has a $ without a group", "write $1 or ${name} for a group of match, $$ for a dollar")
		return true
	}
	for _, reference := range references.FindAllStringSubmatch(rest, -1) {
		name := reference[1] + reference[2]
		index, err := strconv.Atoi(name)
		if err != nil && match != nil {
			index = match.SubexpIndex(name)
		}
		if match != nil && (index < 0 || index > match.NumSubexp()) {
			in.at(path, fmt.Sprintf("%q refers to a group that match does not have: %s", text, reference[0]),
				"put the part of match that is meant in brackets, or correct the reference")
		}
	}
	return true
}

// trunkNamed reports the name of a trunk that does not exist.
func (in *inspector) trunkNamed(path, name string) {
	var names []string
	for _, t := range in.cfg.Trunks {
		names = append(names, t.Name)
	}
	if strings.HasSuffix(path, ".from") {
		names = append(names, everyUser)
	}
	if slices.Contains(names, name) {
		return
	}
	in.at(path, fmt.Sprintf("there is no trunk %q", name), suggest(name, names, "trunks"))
}

// userNamed reports the name of a user that does not exist or that several
// domains have.
func (in *inspector) userNamed(path, name string) {
	var names, matches []string
	for _, d := range in.cfg.Domains {
		for _, u := range d.Users {
			full := u.Name + "@" + d.Name
			names = append(names, u.Name)
			if name == u.Name || strings.EqualFold(name, full) && strings.HasPrefix(name, u.Name+"@") {
				matches = append(matches, full)
			}
		}
	}
	switch {
	case len(matches) == 0:
		in.at(path, fmt.Sprintf("there is no user %q", name), suggest(name, names, "users"))
	case len(matches) > 1:
		in.at(path, fmt.Sprintf("%q is the name of several users", name), "write "+strings.Join(matches, " or "))
	}
}

// suggest is the cure for a name that does not exist.
func suggest(name string, names []string, what string) string {
	const fewEnoughToList = 12
	switch guess := nearest(name, names); {
	case guess != "":
		return "did you mean " + guess + "?"
	case len(names) == 0:
		return "there are no " + what + " at all; add one"
	case len(names) <= fewEnoughToList:
		return what + " are: " + strings.Join(names, ", ")
	default:
		return "name one of the " + strconv.Itoa(len(names)) + " " + what
	}
}

// regexpProblem is Go's complaint without its introduction.
func regexpProblem(err error) string {
	return strings.TrimPrefix(err.Error(), "error parsing regexp: ")
}
