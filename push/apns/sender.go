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

// sender sends one app's pushes. It is the push.Sender of a route.
type sender struct {
	app   App
	pools map[push.Environment]*pool // those that a key serves
}

// Can is push.Sender: a .p8 key may send everything.
func (s *sender) Can() push.Capability {
	has := len(s.pools) > 0
	return push.Capability{VoIP: has, Alert: has}
}

// Send is push.Sender. A device whose environment is not known is tried in
// production, then, if Apple says that the token is not of it, in the sandbox.
func (s *sender) Send(ctx context.Context, t push.Target, n push.Notification) push.Result {
	if !wellFormed(t.Token) {
		return push.Result{Outcome: push.Refused, Reason: push.Malformed, Text: "the device token is not 2 to 200 hexadecimal characters"}
	}
	m, err := newLetter(s.app.BundleID, t.Token, n)
	if err != nil {
		return push.Result{Outcome: push.Refused, Reason: push.Unsendable, Text: "the notification cannot be written: " + err.Error()}
	}
	envs := s.environments(t.Environment)
	if len(envs) == 0 {
		return push.Result{Outcome: push.Refused, Reason: push.NoCredential, Environment: t.Environment,
			Text: fmt.Sprintf("no key of %q serves the %s environment", s.app.BundleID, t.Environment)}
	}
	sent := time.Now()
	first := s.sendTo(ctx, envs[0], m)
	last := first
	if len(envs) > 1 && first.next == otherEnvironment {
		last = s.sendTo(ctx, envs[1], m)
		last.Tries += first.Tries
		last.Hedged = last.Hedged || first.Hedged
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
// counts most, then what is known of the device; keys limit it.
func (s *sender) environments(device push.Environment) []push.Environment {
	order := []push.Environment{push.Production, push.Sandbox}
	switch {
	case s.app.Environment.Known():
		order = []push.Environment{s.app.Environment}
	case device.Known():
		order = []push.Environment{device}
	}
	var served []push.Environment
	for _, e := range order {
		if s.pools[e] != nil {
			served = append(served, e)
		}
	}
	return served
}

// outcome is a result and what it asks for next.
type outcome struct {
	push.Result
	next  action
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
		first.Tries, first.Hedged = last.Tries, last.Hedged
		return first // the second said less: keep the reason that tells more
	}
	return last
}

const badDeviceToken push.Reason = "BadDeviceToken"

// sendTo brings m to one environment: sendOnce by attempts, judged by the
// rules, again as long as effort allows.
func (s *sender) sendTo(ctx context.Context, env push.Environment, m letter) outcome {
	p := s.pools[env]
	p.warm()
	out := outcome{Result: push.Result{Environment: env}}
	var e effort
	for i := p.pick(); ; i = 1 - i {
		bearer, err := p.token.current()
		if err != nil {
			out.Outcome, out.Reason, out.Text = push.Refused, push.NoCredential, err.Error()
			return out
		}
		a, hedged := p.attempt(ctx, i, !out.Hedged, bearer, m)
		out.Tries++
		if hedged {
			out.Tries++
			out.Hedged = true
		}
		out.take(a, env)
		again, pause := e.after(out.next, func() bool {
			renewed, err := p.token.renew(bearer)
			return renewed && err == nil
		})
		if !again {
			return out
		}
		if !wait(ctx, pause) {
			if errors.Is(ctx.Err(), context.Canceled) {
				out.take(answer{reason: push.Stopped}, env)
			}
			return out // at the deadline the last answer says the most
		}
	}
}

// take puts an answer into the result.
func (o *outcome) take(a answer, env push.Environment) {
	o.Status, o.Reason, o.Text, o.since = a.status, a.reason, a.detail, a.since
	switch {
	case a.accepted():
		o.Outcome, o.Reason, o.next = push.Accepted, "", giveUp
		o.Text = "APNs accepted the push"
	case a.status == 0:
		o.Outcome, o.next = push.NoAnswer, ruleFor(0, a.reason).do
	default:
		r := ruleFor(a.status, a.reason)
		o.Outcome, o.next = push.Refused, r.do
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
	tries   int
	renewed bool
}

// after says whether to try again after an answer that asks for do, and how
// long to wait first. renew gets a new provider token.
func (e *effort) after(do action, renew func() bool) (again bool, pause time.Duration) {
	e.tries++
	switch do {
	case renewToken:
		if e.renewed || !renew() {
			return false, 0
		}
		e.renewed = true
		e.tries-- // that one was not the push's fault
		return true, 0
	case tryAgain, tryAgainNow:
		if e.tries >= maxTries {
			return false, 0
		}
		if do == tryAgainNow && e.tries == 1 {
			return true, 0
		}
		return true, jitter()
	}
	return false, 0
}

// wait pauses, or is false when ctx ends first.
func wait(ctx context.Context, pause time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	if pause <= 0 {
		return true
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
