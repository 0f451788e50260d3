package fcm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"wakebridge/push"
)

const (
	// maxTries bounds the requests of one push, renewals of the access token
	// apart.
	maxTries = 3
	// maxLost bounds the requests of one push that FCM may have taken although no
	// answer came: the phone gets a push at most twice.
	maxLost = 2
	// tryTimeout bounds one request; the pings of the connection find a dead one
	// sooner.
	tryTimeout = 10 * time.Second
	// maxToken bounds a device token, in bytes; Google gives no length, today's
	// have about 160.
	maxToken = 4096
)

// sender sends one app's pushes. It is the push.Sender of a route.
type sender struct {
	url    string // of messages:send
	access *access
	http   http.RoundTripper
}

// Can is push.Sender. The one token of an Android app plays the part of the VoIP
// token: a data message starts the app, which shows the call by itself.
func (s *sender) Can() push.Capability { return push.Capability{VoIP: true, Cancel: true, Quiet: true} }

// Send is push.Sender.
func (s *sender) Send(ctx context.Context, t push.Target, n push.Notification) push.Result {
	if !wellFormed(t.Token) {
		return push.Result{Outcome: push.Refused, Reason: push.Malformed, Text: "the device token is not one of FCM"}
	}
	data, err := push.Data(n)
	if err != nil {
		return push.Result{Outcome: push.Refused, Reason: push.Unsendable, Text: "the notification cannot be written: " + err.Error()}
	}
	m := letter{token: t.Token, data: data, priority: priorityOf(n.Kind), until: n.Expiration, written: new(atomic.Int64)}
	sent := time.Now()
	r, next := s.deliver(ctx, m)
	if next == tokenDead {
		r.Dead = push.TokenDead{Kind: push.VoIP, Token: t.Token, Since: sent}
	}
	r.Written = m.wroteAt()
	return r
}

// wellFormed says whether t may be a registration token: visible ASCII.
func wellFormed(t push.DeviceToken) bool {
	s := t.Secret()
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// deliver tries m as often as the rules want, and says what the last answer
// asked for.
func (s *sender) deliver(ctx context.Context, m letter) (push.Result, action) {
	var r push.Result
	renewed, ended, lost := false, false, 0
	m.stopped = func() { // inside an attempt, when r is at rest
		ended = true
		now := r
		take(&now, answer{reason: push.Ended(ctx.Err())})
		now.Tries, now.Written = r.Tries+1, m.wroteAt()
		push.HearingOf(ctx).Stopped(now)
	}
	for tries := 0; ; {
		a, bearer := s.attempt(ctx, m)
		r.Tries++
		if a.reason == push.Lost {
			lost++
			r.Maybe = true
		}
		next := take(&r, a)
		if ended && next != renewToken {
			return r, next // nothing more is sent: what was heard is the last word
		}
		pause := push.Jitter()
		switch next {
		case renewToken:
			if renewed {
				return r, giveUp
			}
			renewed = true // that try was not the push's fault
			s.access.disown(bearer)
			pause = 0
		case tryAgain:
			if tries++; tries >= maxTries || lost >= maxLost || !fits(ctx, a.retryAfter) {
				return r, giveUp
			}
			pause = max(pause, a.retryAfter)
		default:
			return r, next
		}
		if !push.Pause(ctx, pause) {
			if errors.Is(ctx.Err(), context.Canceled) {
				take(&r, answer{reason: push.Stopped})
			}
			return r, giveUp // at the deadline the last answer says the most
		}
		r.Hedged = r.Hedged || lost > 0
	}
}

// attempt is one request with the access token that is good now.
func (s *sender) attempt(ctx context.Context, m letter) (a answer, bearer string) {
	bearer, err := s.access.current(ctx)
	if err != nil {
		return signInFailed(ctx, err), ""
	}
	return s.sendOnce(ctx, bearer, m), bearer
}

// take puts an answer into the result, and says what it asks for.
func take(r *push.Result, a answer) action {
	r.Status, r.Reason, r.Text = a.status, a.reason, a.detail
	switch {
	case a.accepted():
		r.Outcome, r.Reason, r.Text = push.Accepted, "", "FCM accepted the push"
		return giveUp
	case a.status == 0:
		r.Outcome = push.NoAnswer
		if a.reason == push.NoCredential || a.reason == push.Unsendable {
			r.Outcome = push.Refused
		}
		return ruleFor(a).do
	}
	rule := ruleFor(a)
	r.Outcome = push.Refused
	if r.Reason == "" {
		r.Reason = push.Reason(fmt.Sprintf("HTTP %d", a.status))
	}
	r.Text = fmt.Sprintf("FCM refused the %s: %s", rule.what, r.Reason)
	if rule.hint != "" {
		r.Text += " (" + rule.hint + ")"
	}
	return rule.do
}

// fits says whether a pause ends before ctx does.
func fits(ctx context.Context, pause time.Duration) bool {
	end, ok := ctx.Deadline()
	return !ok || time.Until(end) > pause
}
