package apns

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wakebridge/push"
)

// maxTries bounds the requests of one push to one environment, hedges and
// renewals of the provider token apart.
const maxTries = 3

// maxMaybe bounds the requests of one push that APNs may have accepted: the
// phone gets a push at most twice, the second time only by a hedge or after a
// connection was lost in the middle, which counts as one.
const maxMaybe = 2

// sender sends one app's pushes. It is the push.Sender of a route.
type sender struct {
	app   App
	voip  map[push.Environment]*pool // what may send VoIP pushes
	plain map[push.Environment]*pool // what may send the others
}

// Can is push.Sender: a .p8 key may send everything, a certificate what it was
// made for, until it expires.
func (s *sender) Can() push.Capability {
	return push.Capability{VoIP: anyUsable(s.voip), Alert: anyUsable(s.plain)}
}

func anyUsable(pools map[push.Environment]*pool) bool {
	for _, p := range pools {
		if p.usable() {
			return true
		}
	}
	return false
}

// pools are those for a kind of push.
func (s *sender) pools(k push.Kind) map[push.Environment]*pool {
	if k == push.VoIP {
		return s.voip
	}
	return s.plain
}

// Send is push.Sender. A device whose environment is not known is tried in
// production, then, if Apple says that the token is not of it, in the sandbox; the other
// way round if it says so.
func (s *sender) Send(ctx context.Context, t push.Target, n push.Notification) push.Result {
	if !wellFormed(t.Token) {
		return push.Result{Outcome: push.Refused, Reason: push.Malformed, Text: "the device token is not 2 to 200 hexadecimal characters"}
	}
	m, err := newLetter(s.app, t.Token, n)
	if err != nil {
		return push.Result{Outcome: push.Refused, Reason: push.Unsendable, Text: "the notification cannot be written: " + err.Error()}
	}
	pools := s.pools(n.Kind)
	envs := s.environments(t, pools)
	if len(envs) == 0 {
		return push.Result{Outcome: push.Refused, Reason: push.NoCredential, Environment: t.Environment,
			Text: fmt.Sprintf("no key or certificate of %q may send %s pushes in the %s environment", s.app.BundleID, n.Kind, environmentWord(t.Environment))}
	}
	sent := time.Now()
	first := pools[envs[0]].send(ctx, m)
	last := first
	if len(envs) > 1 && first.next == otherEnvironment && ctx.Err() == nil {
		last = pools[envs[1]].send(ctx, m)
		last.Tries += first.Tries
		last.Hedged = last.Hedged || first.Hedged
		last.Maybe = last.Maybe || first.Maybe
	}
	r := verdict(first, last, len(envs))
	if r.next == tokenDead {
		r.Dead = push.TokenDead{Kind: n.Kind, Token: t.Token, Since: sent}
		if !r.since.IsZero() {
			r.Dead.Since = r.since
		}
	}
	r.Written = m.wroteAt()
	return r.Result
}

// wellFormed says whether t can stand in a URL's path: 2 to 200 hexadecimal
// characters (Apple gives no length).
func wellFormed(t push.DeviceToken) bool {
	s := t.Secret()
	if len(s) < 2 || len(s) > 200 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// environments lists where a token may be sent, in order. The operator's word
// counts most, then what is known of the device; what it says is a hint, for a token
// that its own environment would take must not die of a wrong word. The credentials
// limit it.
func (s *sender) environments(t push.Target, pools map[push.Environment]*pool) []push.Environment {
	order := []push.Environment{push.Production, push.Sandbox}
	switch {
	case s.app.Environment.Known():
		order = []push.Environment{s.app.Environment}
	case t.Environment.Known():
		order = []push.Environment{t.Environment}
	case t.Likely == push.Sandbox:
		order = []push.Environment{push.Sandbox, push.Production}
	}
	var served []push.Environment
	for _, e := range order {
		if pools[e] != nil && pools[e].usable() {
			served = append(served, e)
		}
	}
	return served
}

// environmentWord is an environment in a sentence.
func environmentWord(e push.Environment) push.Environment {
	if e == "" {
		return push.Auto
	}
	return e
}

// outcome is a result and what it asks for next.
type outcome struct {
	push.Result
	next  action
	blame blame
	since time.Time
}

// verdict joins the answers of one or two environments. A token is dead if
// every environment that it may belong to disowned it: an environment that did
// not answer proves nothing.
func verdict(first, last outcome, envs int) outcome {
	switch {
	case first.Environment == last.Environment: // only one was asked
		if last.Reason == badDeviceToken && envs == 1 {
			last.next = tokenDead
		}
	case first.Reason == badDeviceToken && last.Reason == badDeviceToken:
		last.next = tokenDead
		last.Text = "APNs refused the token: BadDeviceToken (neither a production nor a sandbox token of this app)"
	case first.Reason == badDeviceToken && last.Outcome != push.Accepted && last.next != tokenDead:
		first.Tries, first.Hedged, first.Maybe = last.Tries, last.Hedged, last.Maybe
		return first // the second said less: keep the reason that tells more
	}
	return last
}

const badDeviceToken push.Reason = "BadDeviceToken"

// send brings m to the pool's environment, unless its credential is known to be
// broken.
func (p *pool) send(ctx context.Context, m letter) (out outcome) {
	out.Environment = p.env
	through, why := p.gate.await(ctx, m.notification.Topic)
	if why != nil {
		out.Outcome, out.Reason, out.Text, out.next = push.Refused, push.BrokenCredential, why.words, why.next
		return out
	}
	defer func() { p.gate.leave(through, out) }()
	p.warm()
	p.try(ctx, m, through, &out)
	return out
}

// try makes attempts, judged by the rules, as long as effort allows and the
// phone cannot get the push a third time.
func (p *pool) try(ctx context.Context, m letter, through pass, out *outcome) {
	var e effort
	maybe := 0
	hedge := silence{time.Now()}
	for i := p.pick(); ; i = 1 - i {
		bearer, err := p.bearer()
		if err != nil {
			out.Outcome, out.Reason, out.Text = push.Refused, push.NoCredential, err.Error()
			return
		}
		stopped := out.stopped(ctx, p.env, m)
		m.stopped = func(hedged bool) {
			p.gate.yield(through) // what is only heard out keeps nobody waiting
			stopped(hedged)
		}
		a, cost := p.attempt(ctx, i, hedge, bearer, m)
		out.Tries++
		if cost.hedged {
			out.Tries++
			out.Hedged = true
		}
		maybe += cost.maybe
		out.Maybe = maybe > 0
		hedge = silence{}
		if maybe == 0 { // or the next request is the second one already
			hedge.since = time.Now()
		}
		out.take(a, p.env)
		if out.blame == ours {
			p.alarm(m, a)
		}
		if cost.ended && out.next != renewToken && out.next != keepToken {
			return // nothing more is sent: what was heard is the last word
		}
		again, pause := e.after(out.next, func(do action) (mended bool) {
			m, mended = p.mend(do, bearer, m)
			return mended
		})
		if !again && out.next == renewToken && (e.mended[renewToken] || through.trial != nil) {
			out.blame = credential // a fresh one is "expired" too, and so would those of all pushes be
		}
		if !again || maybe >= maxMaybe {
			return
		}
		if !push.Pause(ctx, pause) {
			if errors.Is(ctx.Err(), context.Canceled) {
				out.take(answer{reason: push.Stopped}, p.env)
			}
			return // at the deadline the last answer says the most
		}
		out.Hedged = out.Hedged || maybe > 0
	}
}

// stopped makes what tells that the push was stopped although the service's answer is
// still waited for. It runs inside an attempt, when o is at rest.
func (o *outcome) stopped(ctx context.Context, env push.Environment, m letter) func(hedged bool) {
	return func(hedged bool) {
		now := *o
		now.take(answer{reason: push.Ended(ctx.Err())}, env)
		now.Tries, now.Hedged, now.Written = o.Tries+1, o.Hedged || hedged, m.wroteAt()
		if hedged {
			now.Tries++
		}
		push.HearingOf(ctx).Stopped(now.Result)
	}
}

// mend puts right what an answer complained of, if it can.
func (p *pool) mend(do action, bearer string, m letter) (letter, bool) {
	switch {
	case do == shrink:
		return m.smaller()
	case p.token == nil:
		return m, false
	case do == renewToken:
		renewed, err := p.token.renew(bearer)
		return m, renewed && err == nil
	case do == keepToken:
		return m, p.token.keep(bearer)
	}
	return m, false
}

// take puts an answer into the result.
func (o *outcome) take(a answer, env push.Environment) {
	o.Status, o.Reason, o.Text, o.since = a.status, a.reason, a.detail, a.since
	r := ruleFor(a.status, a.reason)
	o.next, o.blame = r.do, r.blame
	switch {
	case a.accepted():
		o.Outcome, o.Reason, o.next, o.blame = push.Accepted, "", giveUp, nobody
		o.Text = "APNs accepted the push"
	case a.reason == push.BrokenCredential:
		o.Outcome = push.Refused
	case a.status == 0:
		o.Outcome = push.NoAnswer
	default:
		o.Outcome = push.Refused
		if o.Reason == "" {
			o.Reason = push.Reason(fmt.Sprintf("HTTP %d", a.status))
		}
		o.Text = r.words(o.Reason, env)
	}
}

// words is the rule for an operator.
func (r rule) words(reason push.Reason, env push.Environment) string {
	text := fmt.Sprintf("APNs refused the %s: %s", r.what, reason)
	hint := r.hint
	switch {
	case reason == badDeviceToken && env == push.Production:
		hint = "sandbox token?"
	case reason == badDeviceToken:
		hint = "production token?"
	}
	if hint == "" {
		return text
	}
	return text + " (" + hint + ")"
}

// effort is how hard one push was tried so far.
type effort struct {
	tries  int
	mended [actions]bool
}

// after says whether to try again after an answer that asks for do, and how
// long to wait first. mend does what the answer asks for, each thing once.
func (e *effort) after(do action, mend func(action) bool) (again bool, pause time.Duration) {
	e.tries++
	switch do {
	case renewToken, keepToken, shrink:
		if e.mended[do] || !mend(do) {
			return false, 0
		}
		e.mended[do] = true
		e.tries-- // that one says nothing about the next
		return true, 0
	case tryAgain, tryAgainNow:
		if e.tries >= maxTries {
			return false, 0
		}
		if do == tryAgainNow && e.tries == 1 {
			return true, 0
		}
		return true, push.Jitter()
	}
	return false, 0
}
