package route

import (
	"fmt"
	"net/netip"
	"strings"
)

// BuiltIn is the name under which the first rule appears in explanations.
const BuiltIn = "called number belongs to a user"

// Request is a call as far as routing looks at it.
type Request struct {
	// From is the trunk the call came over, or FromUsers.
	From string
	// Caller is who calls, for the explanation only: a user's AOR, a trunk's number.
	Caller string
	// Called is the user part of the Request-URI, or the number of a tel URI.
	Called string
	// Host is the host of the Request-URI, "" if it has none.
	Host string
}

// Step is what one rule made of a call.
type Step struct {
	Rule    string `json:"rule"`
	Matched bool   `json:"matched"`
	// Why is for people.
	Why string `json:"why"`
}

// Decision is where a call goes, and how that was found.
type Decision struct {
	To Target `json:"to"`
	// User is who is called, for ToUser.
	User User `json:"-"`
	// AOR is User's.
	AOR string `json:"user,omitempty"`
	// Trunk and Number are for ToTrunk.
	Trunk  string `json:"trunk,omitempty"`
	Number string `json:"number,omitempty"`
	// Status is for Reject: the response's status code.
	Status int `json:"status,omitempty"`
	// Rule is the one that decided, "" if none did.
	Rule string `json:"rule,omitempty"`
	// Reason says the decision in one sentence.
	Reason string `json:"reason"`
	// Steps are the rules in the order they were tried, the deciding one last.
	Steps []Step `json:"steps"`
}

// Plan decides. It is a pure function of the table and the request.
func (t *Table) Plan(r Request) Decision {
	called := Normalize(r.Called)
	var d Decision
	if called == "" {
		return d.nowhere("the Request-URI names nobody")
	}
	if !t.isOurs(r) {
		return d.nowhere(fmt.Sprintf("%s is none of our domains", clip(r.Host)))
	}
	user, why := t.owner(r, called)
	if why == "" {
		return d.decide(BuiltIn, fmt.Sprintf("%s is %s", clip(called), user.AOR()), Decision{To: ToUser, User: user})
	}
	d.Steps = append(d.Steps, Step{Rule: BuiltIn, Why: why})
	for _, rule := range t.rules {
		if why := rule.refuses(r, called); why != "" {
			d.Steps = append(d.Steps, Step{Rule: rule.Name, Why: why})
			continue
		}
		return t.apply(d, rule, called)
	}
	return d.nowhere(fmt.Sprintf("no route matches number %s from %s", clip(called), r.source()))
}

// isOurs says that the Request-URI's host means us: a domain of ours or an address.
// A trunk may write what it likes there, a user who calls somebody elsewhere must
// not reach a user here of that name.
func (t *Table) isOurs(r Request) bool {
	if r.From != FromUsers || r.Host == "" || strings.EqualFold(r.Host, "localhost") || t.domains[strings.ToLower(r.Host)] {
		return true
	}
	_, err := netip.ParseAddr(strings.Trim(r.Host, "[]"))
	return err == nil
}

// owner finds the user that the called number or name means; why says why nobody.
func (t *Table) owner(r Request, called string) (user User, why string) {
	users := t.byName[called]
	for _, u := range users { // before numbers: that of one tenant may be a name of another
		if strings.EqualFold(u.Domain, r.Host) {
			return u, ""
		}
	}
	if u, ok := t.byNumber[called]; ok {
		return u, ""
	}
	switch {
	case len(users) == 0:
		return User{}, fmt.Sprintf("no user has the number or name %s", clip(called))
	case t.domains[strings.ToLower(r.Host)]:
		return User{}, fmt.Sprintf("%s has no user %s", r.Host, clip(called))
	case len(users) > 1:
		return User{}, fmt.Sprintf("%s is the name of several users, and %s is none of their domains", clip(called), clip(r.Host))
	}
	return users[0], ""
}

// refuses says why a rule does not match, "" if it does.
func (rule rule) refuses(r Request, called string) string {
	if rule.From != "" && rule.From != r.From {
		return fmt.Sprintf("is for calls from %s, this one is from %s", sourceName(rule.From), r.source())
	}
	if !rule.match.MatchString(called) {
		return fmt.Sprintf("%s does not match %s", clip(called), rule.Match)
	}
	return ""
}

// apply carries out the rule that matched.
func (t *Table) apply(d Decision, rule rule, called string) Decision {
	groups := rule.match.FindStringSubmatch(called)
	refuse := func(why string) Decision {
		return d.decide(rule.Name, why, Decision{To: Reject, Status: 404})
	}
	switch rule.To {
	case ToUser:
		name, _ := expand(rule.User, rule.match, groups) // checked by New
		user, problem := t.named(name)
		if problem != "" {
			return refuse(problem)
		}
		return d.decide(rule.Name, fmt.Sprintf("%s goes to user %s", clip(called), user.AOR()), Decision{To: ToUser, User: user})
	case ToTrunk:
		number := called
		if rule.Number != "" {
			number, _ = expand(rule.Number, rule.match, groups) // checked by New
		}
		if !isDialable(number) {
			return refuse(fmt.Sprintf("%s cannot be dialled", clip(number)))
		}
		return d.decide(rule.Name, fmt.Sprintf("%s goes to trunk %s as %s", clip(called), rule.Trunk, clip(number)),
			Decision{To: ToTrunk, Trunk: rule.Trunk, Number: number})
	default:
		status := rule.Status
		if status == 0 {
			status = 403
		}
		return d.decide(rule.Name, fmt.Sprintf("%s is refused with %d", clip(called), status), Decision{To: Reject, Status: status})
	}
}

// decide ends an explanation.
func (d Decision) decide(rule, why string, result Decision) Decision {
	result.Rule, result.Reason = rule, fmt.Sprintf("route %q: %s", rule, why)
	if result.To == ToUser {
		result.AOR = result.User.AOR()
	}
	result.Steps = append(d.Steps, Step{Rule: rule, Matched: true, Why: why})
	return result
}

func (d Decision) nowhere(reason string) Decision {
	d.To, d.Status, d.Reason = Reject, 404, reason
	return d
}

// source is where a call came from, for people.
func (r Request) source() string {
	if r.From == FromUsers && r.Caller != "" {
		return "user " + clip(r.Caller)
	}
	return sourceName(r.From)
}

func sourceName(from string) string {
	switch from {
	case FromUsers:
		return "users"
	case "":
		return "nowhere we know"
	}
	return "trunk " + from
}

// clip keeps what a caller wrote from flooding a log or steering a terminal.
func clip(s string) string {
	const most = 64
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if s == "" {
		return `""`
	}
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return s
}
