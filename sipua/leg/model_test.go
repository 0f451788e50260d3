package leg_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
	"pgregory.net/rapid"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/memnet"
)

// step is one thing that somebody does in a random walk.
type step struct {
	who  int // 0: alice, 1: bob
	verb string
	wait time.Duration // afterwards
}

func (s step) String() string { return fmt.Sprintf("%d %s, %s", s.who, s.verb, s.wait) }

var verbs = map[string]func(*leg.Leg) error{
	"ring":         func(l *leg.Leg) error { return l.Ring() },
	"progress":     func(l *leg.Leg) error { return l.Progress(183, []byte(answerSDP)) },
	"answer":       func(l *leg.Leg) error { return l.Answer([]byte(answerSDP)) },
	"reject":       func(l *leg.Leg) error { return l.Reject(603, "") },
	"cancel":       func(l *leg.Leg) error { return l.Cancel() },
	"bye":          func(l *leg.Leg) error { return l.Bye() },
	"drop":         func(l *leg.Leg) error { l.Drop(); return nil },
	"reinvite":     func(l *leg.Leg) error { return l.Reinvite([]byte(holdSDP)) },
	"ask":          func(l *leg.Leg) error { return l.Reinvite(nil) },
	"ack":          func(l *leg.Leg) error { return l.Ack([]byte(answerSDP)) },
	"answer offer": func(l *leg.Leg) error { return l.AnswerOffer([]byte(heldSDP)) },
	"reject offer": func(l *leg.Leg) error { return l.RejectOffer(488, "") },
}

// walk is a random scenario.
type walk struct {
	transport sipua.Transport
	link      memnet.Impairment
	offerless bool
	reactive  bool // verbs also from inside Emit
	breaks    bool // flows may break, or owners leave
	steps     []step
}

func drawWalk(t *rapid.T) walk {
	w := walk{
		transport: rapid.SampledFrom(transports).Draw(t, "transport"),
		link: memnet.Impairment{
			Delay:  time.Duration(rapid.SampledFrom([]int{0, 0, 1, 30, 400}).Draw(t, "delay")) * time.Millisecond,
			Jitter: time.Duration(rapid.SampledFrom([]int{0, 20}).Draw(t, "jitter")) * time.Millisecond,
			Loss:   rapid.SampledFrom([]float64{0, 0, 0.1, 0.3}).Draw(t, "loss"),
		},
		offerless: rapid.Bool().Draw(t, "offerless"),
		reactive:  rapid.Bool().Draw(t, "reactive"),
		breaks:    rapid.Bool().Draw(t, "breaks"),
	}
	if w.transport == sipua.UDP {
		w.link.Reorder = rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "reorder")
		w.link.Duplicate = rapid.SampledFrom([]float64{0, 0.3}).Draw(t, "duplicate")
	}
	// Weighted, so that half of the walks get as far as a dialog.
	choices := []string{"ring", "progress", "answer", "answer", "answer", "answer", "reject", "cancel", "bye", "drop",
		"reinvite", "reinvite", "reinvite", "ask", "ack", "ack", "answer offer", "answer offer", "answer offer", "reject offer", "wait"}
	if w.breaks {
		choices = append(choices, "break", "move", "leave")
	}
	for range rapid.IntRange(1, 25).Draw(t, "length") {
		w.steps = append(w.steps, step{
			who:  rapid.IntRange(0, 1).Draw(t, "who"),
			verb: rapid.SampledFrom(choices).Draw(t, "verb"),
			wait: time.Duration(rapid.SampledFrom([]int{0, 0, 0, 10, 500, 2500, 40000}).Draw(t, "wait")) * time.Millisecond,
		})
	}
	return w
}

// run plays the walk and says what was wrong.
func (w walk) run(t *testing.T, n *memnet.Network) (problems []string) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	alice, bob := newSide(t, n, aliceHost, byHost), newSide(t, n, bobHost, byHost)
	n.ImpairBoth(aliceHost, bobHost, w.link)
	log := watch(t, n)
	sides := []*side{alice, bob}
	if w.reactive {
		for _, s := range sides {
			s.on = react
		}
	}
	alice.call(alice.flow(w.transport, bob), func(i *leg.Invite) {
		if w.offerless {
			i.Body = nil
		}
	})
	left := [2]bool{}
	for _, st := range w.steps {
		s := sides[st.who]
		if !left[st.who] {
			left[st.who] = w.act(s, sides[1-st.who], st.verb)
		}
		time.Sleep(st.wait)
	}
	time.Sleep(5 * time.Second) // what is under way arrives
	for i, s := range sides {
		if !left[i] {
			s.owner.do(func() { dropAll(s) })
		}
	}
	time.Sleep(3 * time.Minute)
	synctest.Wait()
	for i, s := range sides {
		if !left[i] {
			s.owner.do(func() { checkEvents(s, bad) })
		}
		if _, dialogs, servers, clients := s.ep.Sizes(); dialogs+servers+clients > 0 {
			bad("%s: %d dialogs, %d server and %d client transactions are left", s.host, dialogs, servers, clients)
		}
	}
	w.checkFinals(log, bad)
	return problems
}

func byHost(c *sipua.Config) {
	c.Party = func(_ sipua.Transport, remote netip.AddrPort) string { return remote.Addr().String() }
}

// react calls verbs where the owner may call them: inside Emit.
func react(l *leg.Leg, e leg.Event) {
	switch e := e.(type) {
	case leg.Offer:
		l.AnswerOffer([]byte(heldSDP))
	case leg.FlowLost:
		l.Drop()
	case leg.Confirmed:
		if !e.Reinvite {
			l.Reinvite([]byte(holdSDP))
		}
	case leg.Ended:
		l.Bye()
	}
}

// act does one step; true when the side's owner has left.
func (w walk) act(s, other *side, verb string) (left bool) {
	flow := func() *sipua.Flow {
		f, err := s.ep.Connect(s.t.Context(), w.transport, sipua.Destination{Addr: netip.AddrPortFrom(other.host, 5060)})
		if err != nil {
			return nil
		}
		return f
	}
	switch verb {
	case "wait":
	case "break":
		s.owner.do(func() {
			for _, l := range s.legs {
				l.Flow().Shut(errNetwork)
			}
		})
	case "move":
		if f := flow(); f != nil {
			s.owner.do(func() {
				for _, l := range s.legs {
					l.SetFlow(f)
				}
			})
		}
	case "leave": // drop everything and go: nobody runs what is posted
		s.owner.do(func() { dropAll(s) })
		if s.host == aliceHost { // bob's may still have to take the INVITE
			s.owner.stop()
			return true
		}
	default:
		s.owner.do(func() {
			for _, l := range s.legs {
				verbs[verb](l)
			}
		})
	}
	return false
}

// dropAll drops a side's legs, and those of INVITEs that come late.
func dropAll(s *side) {
	for _, l := range s.legs {
		l.Drop()
	}
	s.admit = func(l *leg.Leg, _ *sipua.ServerTx) { l.Drop() }
}

// checkEvents checks that each leg was told its end once, and last.
func checkEvents(s *side, bad func(string, ...any)) {
	for _, l := range s.legs {
		events := s.events[l]
		ends := 0
		for _, e := range events {
			if _, ok := e.(leg.Ended); ok {
				ends++
			}
		}
		if ends != 1 {
			bad("%s was told [%s]", s.host, names(events))
			continue
		}
		if _, ok := events[len(events)-1].(leg.Ended); !ok {
			bad("%s was told [%s]", s.host, names(events))
		}
	}
}

// checkFinals checks that no INVITE got two different final responses, and that
// each got one where nothing was lost.
func (w walk) checkFinals(log *wire, bad func(string, ...any)) {
	log.mu.Lock()
	defer log.mu.Unlock()
	finals := map[string]map[string]bool{}
	for _, p := range log.seen {
		branch, _ := p.msg.(interface{ Via() *sip.ViaHeader }).Via().Params.Get("branch")
		switch m := p.msg.(type) {
		case *sip.Request:
			if m.IsInvite() && finals[branch] == nil && !p.lost {
				finals[branch] = map[string]bool{}
			}
		case *sip.Response:
			if m.CSeq().MethodName == sip.INVITE && m.StatusCode >= 200 && finals[branch] != nil {
				finals[branch][fmt.Sprint(m.StatusCode)] = true
			}
		}
	}
	for branch, got := range finals {
		if len(got) > 1 || len(got) == 0 && w.link.Loss == 0 && !w.breaks {
			bad("INVITE %s has the final responses %v", branch, got)
		}
	}
}

// Whatever the owners and the network do, in any order: each leg ends exactly once,
// each INVITE has one final response, and nothing stays behind.
func TestRandomWalks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWalk(rt)
		seed := rapid.Uint64().Draw(rt, "seed")
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = w.run(t, newNetwork(t, seed)) })
		if len(problems) > 0 {
			rt.Fatalf("%+v\n%s", w, strings.Join(problems, "\n"))
		}
	})
}
