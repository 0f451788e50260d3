package model

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/push/apnssim"
	"wakebridge/sipua"
)

// step is one thing that somebody does: what, and with which phone, call or amount.
type step struct {
	verb string
	n    int
}

func (s step) String() string { return s.verb + " " + strconv.Itoa(s.n) }

// script is a sequence, in a form that replays.
type script struct {
	seed  uint64
	steps []step
}

func (s script) String() string {
	words := make([]string, len(s.steps))
	for i, st := range s.steps {
		words[i] = st.String()
	}
	return fmt.Sprintf("%d: %s", s.seed, strings.Join(words, "; "))
}

var errScript = errors.New("not a script: want 'seed: verb n; verb n'")

// parse reads what String wrote.
func parse(text string) (script, error) {
	seed, rest, found := strings.Cut(text, ":")
	if !found {
		return script{}, errScript
	}
	var s script
	var err error
	if s.seed, err = strconv.ParseUint(strings.TrimSpace(seed), 10, 64); err != nil {
		return s, fmt.Errorf("%w: %w", errScript, err)
	}
	known := verbs()
	for word := range strings.SplitSeq(rest, ";") {
		verb, n, _ := strings.Cut(strings.TrimSpace(word), " ")
		st := step{verb: verb}
		if verb == "" {
			continue
		}
		if st.n, err = strconv.Atoi(n); err != nil {
			return s, fmt.Errorf("%w: %w", errScript, err)
		}
		if known[verb].do == nil {
			return s, fmt.Errorf("%w: no verb %q", errScript, verb)
		}
		s.steps = append(s.steps, st)
	}
	return s, nil
}

// verb is a kind of step. do says whether it could be done now: nobody answers
// where nothing rings.
type verb struct {
	weight int // how often it is tried
	amount func(r *rand.Rand) int
	do     func(w *world, n int) (bool, error)
}

func below(n int) func(*rand.Rand) int { return func(r *rand.Rand) int { return r.IntN(n) } }

// verbs are all kinds of steps.
func verbs() map[string]verb {
	phones, any8 := below(3), below(8)
	return map[string]verb{
		"trunk":     {8, below(2), trunkCalls},
		"desk":      {4, below(2), deskCalls},
		"hangup":    {8, any8, hangsUp},
		"answer":    {10, phones, answers},
		"decline":   {2, phones, declines},
		"end":       {4, phones, ends},
		"pass":      {14, func(r *rand.Rand) int { return 1 << r.IntN(12) }, passes},
		"wait":      {3, func(r *rand.Rand) int { return 5 + r.IntN(30) }, waits},
		"drop":      {2, phones, onPhone((*handset).dropped)},
		"move":      {2, phones, onPhone(func(p *handset) (bool, error) { return p.moved(false) })},
		"roam":      {2, phones, onPhone(func(p *handset) (bool, error) { return p.moved(true) })},
		"open":      {4, phones, onPhone(func(p *handset) (bool, error) { return !p.gone(), p.device.Open() })},
		"sleep":     {6, phones, onPhone((*handset).sleeps)},
		"kill":      {2, phones, onPhone((*handset).killed)},
		"reinstall": {1, phones, onPhone((*handset).reinstalled)},
		"away":      {2, phones, onPhone(func(p *handset) (bool, error) { return p.flies(true) })},
		"back":      {4, phones, onPhone(func(p *handset) (bool, error) { return p.flies(false) })},
		"fault":     {3, below(len(faults())), appleFails},
		"repair":    {4, below(1), appleWorks},
		"hold":      {8, phones, holds},
		"resume":    {16, phones, resumes},
		"tap":       {1, phones, onPhone((*handset).taps)},
		"revoke":    {1, below(1), revokes},
		"losepush":  {1, below(len(networks())), appleLoses},
		"restart":   {1, below(1), restarts},
		"loss":      {1, func(r *rand.Rand) int { return 10 * r.IntN(4) }, losesPackets},
	}
}

// faults are what Apple does wrong.
func faults() []apnssim.Action {
	return []apnssim.Action{
		{Fault: apnssim.Respond, Status: 500, Reason: "InternalServerError"},
		{Fault: apnssim.Respond, Status: 503, Reason: "ServiceUnavailable"},
		{Fault: apnssim.Respond, Status: 429, Reason: "TooManyRequests"},
		{Fault: apnssim.Respond, Status: 410, Reason: "Unregistered"},
		{Fault: apnssim.Respond, Status: 400, Reason: "BadDeviceToken"},
		{Fault: apnssim.Delay, Latency: 2 * time.Second, Jitter: time.Second},
		{Fault: apnssim.Hang},
		{Fault: apnssim.Hang, Deliver: true},
		{Fault: apnssim.Reset},
		{Fault: apnssim.Cut, Deliver: true},
		{Fault: apnssim.Blackhole},
		{Fault: apnssim.GoAway, Reason: "Shutdown"},
		{Fault: apnssim.GoAway, Reason: "Shutdown", Unprocessed: true},
		{Fault: apnssim.RefuseTLS},
	}
}

// number is what calls a user.
func number(user int) string { return []string{"201", "202"}[user%2] }

func trunkCalls(w *world, n int) (bool, error) {
	if len(w.live()) >= 4 {
		return false, nil
	}
	return true, w.call(w.pbx, sipua.UDP, number(n))
}

// deskCalls: bob calls alice, or out over the trunk.
func deskCalls(w *world, n int) (bool, error) {
	if len(w.live()) >= 4 {
		return false, nil
	}
	return true, w.call(w.desk, sipua.TCP, []string{"201", "4930123"}[n%2])
}

func hangsUp(w *world, n int) (bool, error) {
	live := w.live()
	if len(live) == 0 {
		return false, nil
	}
	live[n%len(live)].hangUp(w)
	return true, nil
}

func answers(w *world, n int) (bool, error) {
	p := w.nth(n, func(p *handset) bool { return p.rings() && !p.talks() })
	return p != nil, w.user(p, func(id uuid.UUID) error { return p.device.Answer(id) })
}

func declines(w *world, n int) (bool, error) {
	p := w.nth(n, (*handset).rings)
	return p != nil, w.user(p, func(id uuid.UUID) error { return p.device.Decline(id) })
}

func ends(w *world, n int) (bool, error) {
	p := w.nth(n, (*handset).talks)
	return p != nil, w.user(p, func(id uuid.UUID) error { return p.device.End(id) })
}

func passes(_ *world, ms int) (bool, error) {
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return true, nil
}

// waits lets longer pass, while nobody talks: sound is dear.
func waits(w *world, seconds int) (bool, error) {
	for _, p := range w.phones {
		if _, answered := p.calls(); answered > 0 {
			return false, nil
		}
	}
	time.Sleep(time.Duration(seconds) * time.Second)
	return true, nil
}

func appleFails(w *world, n int) (bool, error) {
	all := faults()
	times := 1 + n%3
	_, err := w.dev.APNs.AddFault(apnssim.Rule{Match: apnssim.Match{Times: times}, Action: all[n%len(all)]})
	return true, err
}

func appleWorks(w *world, _ int) (bool, error) {
	had := len(w.dev.APNs.Faults()) > 0 || w.credential.gone
	w.dev.APNs.ClearFaults()
	_, err := appleDelivers(w, 0)
	return had, errors.Join(err, w.reinstate())
}

func losesPackets(w *world, percent int) (bool, error) {
	w.loss(percent)
	return true, nil
}

// result is what became of a sequence: the steps that could be done, what was
// broken, and the story if it was wanted.
type result struct {
	steps   []step
	broken  []string
	story   string
	reached reach
}

// run carries out what next says until it says no more. It runs in a bubble of its
// own.
func run(seed uint64, next func() (step, bool), telling bool) (res result) {
	w, err := newWorld(seed, telling)
	defer w.close()
	if err != nil {
		res.broken = []string{"the world does not come up: " + err.Error()}
		return res
	}
	known := verbs()
	for {
		s, more := next()
		if !more {
			break
		}
		could, err := known[s.verb].do(w, s.n)
		if err != nil {
			res.broken = append(res.broken, fmt.Sprintf("%s: %v", s, err))
		}
		if could {
			res.steps = append(res.steps, s)
		}
		synctest.Wait()
	}
	w.calm()
	res.broken = append(res.broken, w.check()...)
	res.reached = w.reached()
	if telling {
		res.story = w.story()
	}
	return res
}
