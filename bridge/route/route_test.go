package route

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func house() Config {
	return Config{
		Domains: []string{"empty.example.org"},
		Users: []User{
			{Name: "alice", Domain: "SIP.example.com", Numbers: []string{"201", "+4930123401"}},
			{Name: "bob", Domain: "sip.example.com", Numbers: []string{"202"}},
			{Name: "bob", Domain: "other.example.com"},
			{Name: "agent7", Domain: "sip.example.com"},
			{Name: "201", Domain: "other.example.com"},
		},
		Trunks: []string{"asterisk", "carrier"},
		Rules: []Rule{
			{Name: "block", Match: `^\+?0900`, To: Reject, Status: 603},
			{Name: "sales", From: "carrier", Match: `^\+4930456(\d)$`, To: ToUser, User: "agent$1"},
			{Name: "desk", From: "carrier", Match: `^\+493078$`, To: ToUser, User: "bob@OTHER.example.com"},
			{Name: "mail", From: FromUsers, Match: `^\*(?P<box>\d+)#?$`, To: ToTrunk, Trunk: "asterisk", Number: "*99${box}x"},
			{Name: "out", From: FromUsers, Match: `^\+?[0-9]{3,15}$`, To: ToTrunk, Trunk: "carrier"},
			{Name: "hide", From: FromUsers, Match: `^secret`, To: Reject},
			{Name: "odd", From: FromUsers, Match: `^odd`, To: ToTrunk, Trunk: "carrier"},
		},
	}
}

func table(t testing.TB, c Config) *Table {
	t.Helper()
	tab, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestPlan(t *testing.T) {
	tab := table(t, house())
	trunk := func(called, host string) Request { return Request{From: "asterisk", Called: called, Host: host} }
	user := func(called, host string) Request {
		return Request{From: FromUsers, Caller: "alice@sip.example.com", Called: called, Host: host}
	}
	carrier := func(called string) Request { return Request{From: "carrier", Called: called, Host: "203.0.113.5"} }
	tests := []struct {
		name   string
		r      Request
		want   string // AOR, trunk:number, or status
		rule   string
		reason string
	}{
		{"number", trunk("201", "10.0.0.1"), "alice@sip.example.com", BuiltIn, "201 is alice@sip.example.com"},
		{"number with separators", trunk("+49 (30) 1234-01", "10.0.0.1"), "alice@sip.example.com", BuiltIn, "+4930123401"},
		{"escaped number", trunk("%2B4930123401", "10.0.0.1"), "alice@sip.example.com", BuiltIn, ""},
		{"number with parameters", trunk("201;phone-context=x", "10.0.0.1"), "alice@sip.example.com", BuiltIn, ""},
		{"name over a trunk", trunk("alice", "10.0.0.1"), "alice@sip.example.com", BuiltIn, ""},
		{"name in the domain", user("bob", "SIP.EXAMPLE.com"), "bob@sip.example.com", BuiltIn, ""},
		{"same name in the other domain", user("bob", "other.example.com"), "bob@other.example.com", BuiltIn, ""},
		{"name of several users", trunk("bob", "10.0.0.1"), "404", "", "no route matches number bob from trunk asterisk"},
		{"name that the domain has not", user("alice", "other.example.com"), "404", "", "from user alice@sip.example.com"},
		{"a name that is a number elsewhere", user("201", "other.example.com"), "201@other.example.com", BuiltIn, ""},
		{"over a trunk", trunk("201", "other.example.com"), "201@other.example.com", BuiltIn, ""},
		{"number over another domain of ours", user("202", "empty.example.org"), "bob@sip.example.com", BuiltIn, ""},
		{"names have a case", trunk("Alice", "10.0.0.1"), "404", "", ""},
		{"out", user("+498912345", "sip.example.com"), "carrier:+498912345", "out", "goes to trunk carrier"},
		{"out over an address", user("+498912345", "[2001:db8::1]"), "carrier:+498912345", "out", ""},
		{"nothing goes out from a trunk", trunk("+498912345", "10.0.0.1"), "404", "", "no route matches number +498912345 from trunk asterisk"},
		{"nothing goes to a foreign domain", user("+498912345", "elsewhere.org"), "404", "", "elsewhere.org is none of our domains"},
		{"nor to a user of ours by its name", user("alice", "elsewhere.org"), "404", "", "elsewhere.org"},
		{"a trunk may write any host", trunk("201", "pbx.local"), "alice@sip.example.com", BuiltIn, ""},
		{"first match wins", user("0900123", ""), "603", "block", "refused with 603"},
		{"for every caller", carrier("+0900123"), "603", "block", ""},
		{"template names a user", carrier("+49304567"), "agent7@sip.example.com", "sales", ""},
		{"template names nobody", carrier("+49304568"), "404", "sales", `there is no user "agent8"`},
		{"user with domain", carrier("+493078"), "bob@other.example.com", "desk", ""},
		{"number template", user("*12#", ""), "asterisk:*9912x", "mail", ""},
		{"default refusal", user("secret", ""), "403", "hide", ""},
		{"number that cannot be dialled", user("odd@x", ""), "404", "odd", "cannot be dialled"},
		{"nobody called", trunk("", "10.0.0.1"), "404", "", "names nobody"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tab.Plan(tt.r)
			var got string
			switch d.To {
			case ToUser:
				got = d.AOR
				if got != d.User.AOR() || d.Status != 0 || d.Trunk != "" {
					t.Errorf("%+v", d)
				}
			case ToTrunk:
				got = d.Trunk + ":" + d.Number
			case Reject:
				got = map[int]string{404: "404", 403: "403", 603: "603"}[d.Status]
			}
			if got != tt.want || d.Rule != tt.rule || !strings.Contains(d.Reason, tt.reason) {
				t.Errorf("%s by %q: %s", got, d.Rule, d.Reason)
			}
		})
	}
}

// What "route test" prints: each rule, and why it did not match.
func TestExplanation(t *testing.T) {
	d := table(t, house()).Plan(Request{From: "carrier", Called: "+491", Host: "203.0.113.5"})
	want := []Step{
		{BuiltIn, false, "no user has the number or name +491"},
		{"block", false, `+491 does not match ^\+?0900`},
		{"sales", false, `+491 does not match ^\+4930456(\d)$`},
		{"desk", false, `+491 does not match ^\+493078$`},
		{"mail", false, "is for calls from users, this one is from trunk carrier"},
		{"out", false, "is for calls from users, this one is from trunk carrier"},
		{"hide", false, "is for calls from users, this one is from trunk carrier"},
		{"odd", false, "is for calls from users, this one is from trunk carrier"},
	}
	if !slices.Equal(d.Steps, want) {
		t.Errorf("%+v", d.Steps)
	}
	if d.Reason != "no route matches number +491 from trunk carrier" {
		t.Error(d.Reason)
	}
	d = table(t, house()).Plan(Request{From: "carrier", Called: "+0900", Host: "203.0.113.5"})
	if n := len(d.Steps); n != 2 || !d.Steps[1].Matched || d.Steps[1].Rule != "block" || d.Reason != `route "block": +0900 is refused with 603` {
		t.Errorf("%+v", d)
	}
	b, err := json.Marshal(d)
	if err != nil || !strings.Contains(string(b), `"to":"reject","status":603,"rule":"block"`) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestNewReportsEveryFault(t *testing.T) {
	_, err := New(Config{
		Users: []User{
			{Name: "alice", Domain: "a.example", Numbers: []string{"201"}},
			{Name: "bob", Domain: "a.example", Numbers: []string{"2-01"}},
			{Name: "alice", Domain: "A.example"},
			{Name: "", Domain: "a.example"},
			{Name: "carol", Domain: "b.example"}, {Name: "carol", Domain: "a.example"},
		},
		Trunks: []string{"pbx", "users"},
		Rules: []Rule{
			{Name: "broken", Match: "(", To: Reject},
			{Name: "lookahead", Match: "(?=x)", To: Reject},
			{Name: "r1", From: "nobody", Match: "x", To: ToTrunk, Trunk: "gone"},
			{Name: "r2", Match: "x", To: ToUser, User: "dave"},
			{Name: "r3", Match: "x", To: ToUser, User: "carol"},
			{Name: "r4", Match: "x(y)", To: ToTrunk, Trunk: "pbx", Number: "$2"},
			{Name: "r5", Match: "x", To: ToTrunk, Trunk: "pbx", Number: "a$"},
			{Name: "r6", Match: "x", To: ToTrunk, Trunk: "pbx", Number: "${who}"},
			{Name: "r7", Match: "x", To: Reject, Status: 200},
			{Name: "r8", Match: "x", To: "moon"},
			{Name: "r8", Match: "x", To: Reject},
			{Name: "", Match: "x", To: Reject},
		},
	})
	if !errors.Is(err, ErrBadTable) {
		t.Fatal(err)
	}
	for _, want := range []string{
		"user bob@a.example: number 2-01 belongs to alice@a.example", "user alice@a.example: is there twice", "user @a.example: name or domain is missing",
		`no trunk can be called "users"`,
		`route "broken": match: missing closing )`, `route "lookahead": match:`, `route "r1": from: there is no trunk "nobody"`, `route "r1": trunk: there is no trunk "gone"`,
		`route "r2": user: there is no user "dave"`, `route "r3": user: "carol" is the name of several users`, `route "r4": number: match has no group $2`,
		`route "r5": number: "a$" has a $ without a group`, `route "r6": number: match has no group $who`, `route "r7": status: 200`, `route "r8": to: "moon"`,
		`route 11: name "r8" is empty or taken`, `route 12: name "" is empty or taken`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not reported: %s", want)
		}
	}
	if n := len(strings.Split(err.Error(), "\n")); n != 17 {
		t.Errorf("%d faults:\n%v", n, err)
	}
}

func TestExpand(t *testing.T) {
	match := regexp.MustCompile(`^(\d)(\d)(?P<rest>x*)$`)
	groups := match.FindStringSubmatch("12xx")
	for template, want := range map[string]string{
		"": "", "plain": "plain", "$1": "1", "$1x": "1x", "${1}0": "10", "0$2$1": "021", "$0": "12xx", "${rest}": "xx", "$$1": "$1", "a$$": "a$",
	} {
		if got, problem := expand(template, match, groups); problem != "" || got != want {
			t.Errorf("%q: %q, %s", template, got, problem)
		}
	}
	for _, bad := range []string{"$", "$x", "${1", "${}", "$4", "${more}", "$99999999999999999999"} {
		if got, problem := expand(bad, match, groups); problem == "" {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

func TestNormalize(t *testing.T) {
	for called, want := range map[string]string{
		"201": "201", "+49 30-12.34 (5)": "+493012345", "alice.b-c": "alice.b-c", "*99#": "*99#", "%23": "#", "a%20b": "a b",
		"%zz": "%zz", "...": "...", " 201 ": "201", "201;x=y": "201", "": "",
	} {
		if got := Normalize(called); got != want {
			t.Errorf("Normalize(%q) = %q", called, got)
		}
	}
}

// Whatever is called by whomever: the decision is complete, the explanation ends
// with what decided, and only a rule for that source ever leads to a trunk.
func TestPlanProperties(t *testing.T) {
	tab := table(t, house())
	rapid.Check(t, func(t *rapid.T) {
		r := Request{
			From:   rapid.SampledFrom([]string{FromUsers, "asterisk", "carrier", ""}).Draw(t, "from"),
			Called: rapid.OneOf(rapid.String(), rapid.StringMatching(`[+*]?[0-9]{0,16}#?`), rapid.SampledFrom([]string{"alice", "bob", "201", "odd"})).Draw(t, "called"),
			Host:   rapid.SampledFrom([]string{"", "sip.example.com", "10.0.0.1", "elsewhere.org"}).Draw(t, "host"),
			Caller: rapid.String().Draw(t, "caller"),
		}
		d := tab.Plan(r)
		if d.Reason == "" || strings.ContainsAny(d.Reason, "\r\n\x00\x1b") || len(d.Reason) > 1000 {
			t.Fatalf("reason %q", d.Reason)
		}
		for i, s := range d.Steps {
			if s.Why == "" || s.Matched != (i == len(d.Steps)-1 && d.Rule != "") {
				t.Fatalf("steps %+v", d.Steps)
			}
		}
		switch d.To {
		case ToUser:
			if _, problem := tab.named(d.AOR); problem != "" {
				t.Fatal(problem)
			}
			if r.From == FromUsers && r.Host == "elsewhere.org" {
				t.Fatal("a call to elsewhere reached a user here")
			}
		case ToTrunk:
			if r.From != FromUsers || !isDialable(d.Number) || r.Host == "elsewhere.org" {
				t.Fatalf("%+v went to %+v", r, d)
			}
		case Reject:
			if d.Status < 400 || d.Status > 699 {
				t.Fatalf("%+v", d)
			}
		default:
			t.Fatalf("%+v", d)
		}
	})
}
