package iphone

import (
	"fmt"
	"slices"
)

// Policy is a way for an app, or for a phone, to behave; the zero value is the
// correct app. The others are test subjects for servers: each does one thing wrong,
// or is a case that a server has to live with.
type Policy struct {
	// Name is how commands call it.
	Name string
	// About says in a line what it does.
	About string
	// Phones is how many phones of one user it takes; 0 means one.
	Phones int
	// Roams says that it changes its address: Config.Network.Roam has to lead to
	// another one.
	Roams bool

	install func(a *app) delegate // around the app that has just started; nil: nothing
	start   func(d *Device)       // when the device is switched on; nil: nothing
}

// departures are the places where a policy leaves the correct app's way; nil: it
// does not.
type departures struct {
	connecting func()             // before a REGISTER
	registered func()             // behind its 200
	attached   func(c *call) bool // an INVITE is here; true: nothing else is to be done
	accepted   func(c *call)      // the 200 to it is on its way
	confirmed  func(act *action)  // its ACK is here: instead of the fulfilment
}

// CorrectPolicy is the name of the app that does all as it should.
const CorrectPolicy = "correct"

// Policies are all policies, the correct one first.
func Policies() []Policy {
	return []Policy{
		{Name: CorrectPolicy, About: "does all as it should"},
		{Name: "article", About: "the founding article's app: fulfils an answer as soon as it accepted, without waiting for the ACK", install: article},
		{Name: "never-reports", About: "registers when a push comes and reports no call to CallKit", install: neverReports},
		{Name: "reports-late", About: "registers first, and reports the call when it is registered", install: reportsLate},
		{Name: "never-registers", About: "reports the call of a push and does not register for it", install: neverRegisters},
		{Name: "rejects", About: "registers for a push, and answers each INVITE with 486", install: rejects},
		{Name: "registers-twice", About: "registers over two connections at the same time", install: registersTwice},
		{Name: "no-audio", About: "answers and never sends RTP, as its audio is not activated", install: noAudio},
		{Name: "dies-after-answer", About: "is killed (kill -9) right after its 200 to the INVITE", install: diesAfterAnswer},
		{Name: "changes-address", About: "registers for a push and comes from another address a moment later", Roams: true,
			install: changesAddress},
		{Name: "fulfils-late", About: "fulfils the answer when CallKit has given it up", install: fulfilsLate},
		{Name: "stale-token", About: "goes on announcing push tokens of an installation that is gone", install: staleToken},
		{Name: "foreground", About: "stays in front of the user with a living connection", install: staysForeground, start: (*Device).open},
		{Name: "two-phones", About: "two phones of one user, each with its own instance", Phones: 2},
		{Name: "online-after-cancel", About: "is offline once asleep and back 20 s later, when a caller may have given up",
			install: offlineAsleep},
	}
}

// PolicyNamed is the policy of that name. Errors: ErrPolicy.
func PolicyNamed(name string) (Policy, error) {
	all := Policies()
	i := slices.IndexFunc(all, func(p Policy) bool { return p.Name == name })
	if i < 0 {
		return Policy{}, fmt.Errorf("%q: %w", name, ErrPolicy)
	}
	return all[i], nil
}
