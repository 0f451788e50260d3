package apns

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wakebridge/push"
)

// hedgeAfter is how long a request may be silent before the same push goes out
// on the second line too.
const hedgeAfter = 1500 * time.Millisecond

// pool is two lines to one environment with one team's key, or with one
// certificate: Apple wants one team on a connection.
type pool struct {
	env   push.Environment
	base  string         // URL without path
	token *providerToken // nil: cert speaks for us
	cert  *identity      // nil: token does
	gate  gate
	alarm func(letter, answer)
	lines [2]*line
	first atomic.Int32 // the line that answered last
}

// bearer is the provider token to send, empty with a certificate.
func (p *pool) bearer() (string, error) {
	if p.token == nil {
		return "", nil
	}
	return p.token.current()
}

// usable says that the credential has not expired.
func (p *pool) usable() bool {
	return p.cert == nil || time.Now().Before(p.cert.current().NotAfter())
}

// replaced starts anew with another credential.
func (p *pool) replaced() {
	p.gate.reset()
	for _, l := range p.lines {
		l.renew()
	}
}

// warm gets both lines a connection.
func (p *pool) warm() {
	for _, l := range p.lines {
		l.warm()
	}
}

func (p *pool) close() {
	for _, l := range p.lines {
		l.close()
	}
}

// pick is the line to begin with: the one that answered last, unless it has no
// stream free and the other has.
func (p *pool) pick() int {
	i := int(p.first.Load())
	if p.lines[i].busy() && !p.lines[1-i].busy() {
		return 1 - i
	}
	return i
}

// tally is what an attempt cost.
type tally struct {
	hedged bool // a second request was made
	silent bool // a request ended without an answer
	maybe  int  // requests that were lost and may have been accepted all the same
	ended  bool // the push was stopped meanwhile, and heard out
}

// add counts what a request's answer tells.
func (t *tally) add(a answer) {
	if a.maybe {
		t.maybe++
	}
	t.silent = t.silent || a.status == 0
}

// shot is one request of an attempt.
type shot struct {
	*exchange
	line   int
	cancel context.CancelFunc
	got    answer
	over   bool // got was received
}

// open counts the requests that may be at the service, which has not answered them.
func open(shots []*shot) (n int) {
	for _, s := range shots {
		if !s.over && s.head.Load() {
			n++
		}
	}
	return n
}

// attempt is one try: a request on line i and, with hedge, the same one on the
// other line if nothing came back in hedgeAfter. The first yes or final no
// counts; the other request is cancelled. When ctx ends, what is written may still be
// answered for push.HearOut if somebody wants to know, and nothing else is sent.
func (p *pool) attempt(ctx context.Context, i int, hedge bool, bearer string, m letter) (a answer, cost tally) {
	if err := ctx.Err(); err != nil {
		return answer{reason: push.Ended(err)}, cost
	}
	var running sync.WaitGroup
	defer running.Wait()
	request := context.WithCancel
	var stop, tooLate <-chan struct{}
	if h := push.HearingOf(ctx); h != nil {
		request, stop = h.Request, ctx.Done()
	}
	var shots []*shot
	cancel := func(which func(*shot) bool) {
		for _, s := range shots {
			if which(s) {
				s.cancel()
			}
		}
	}
	all := func(*shot) bool { return true }
	defer func() { cancel(all) }()

	done := make(chan *shot, len(p.lines))
	shoot := func(i int) {
		s := &shot{exchange: &exchange{bearer: bearer, expiration: m.expiration}, line: i}
		var own context.Context
		own, s.cancel = request(ctx)
		shots = append(shots, s)
		running.Go(func() {
			s.got = sendOnce(own, p.lines[i], p.base, s.exchange, m)
			done <- s
		})
	}
	shoot(i)
	under := 1

	var silence <-chan time.Time
	if hedge {
		timer := time.NewTimer(hedgeAfter)
		defer timer.Stop()
		silence = timer.C
	}
	for {
		select {
		case <-silence:
			silence = nil
			if ctx.Err() != nil {
				continue
			}
			cost.hedged = true
			shoot(1 - i)
			under++
		case <-stop:
			stop, silence = nil, nil
			cancel(func(s *shot) bool { return !s.whole.Load() })
			if slices.ContainsFunc(shots, func(s *shot) bool { return s.whole.Load() }) {
				cost.ended = true
				m.stopped(cost.hedged)
				late, release := context.WithTimeout(context.WithoutCancel(ctx), push.HearOut)
				defer release()
				tooLate = late.Done()
			}
		case <-tooLate:
			tooLate = nil
			cancel(all)
		case s := <-done:
			under--
			s.over = true
			cost.add(s.got)
			if s.got.status != 0 {
				p.first.Store(int32(s.line)) //nolint:gosec // 0 or 1
			}
			a = better(a, s.got)
			if under == 0 || settled(s.got) {
				if !s.got.accepted() { // another request may follow those that are cancelled now
					cost.maybe += open(shots)
				}
				if err := ctx.Err(); err != nil && a.reason == push.Stopped {
					a.reason = push.Ended(err) // the request's own context knows no deadline
				}
				return a, cost
			}
		}
	}
}

// settled says that an answer needs no second opinion.
func settled(a answer) bool {
	if a.accepted() {
		return true
	}
	switch ruleFor(a.status, a.reason).do {
	case tryAgain, tryAgainNow:
		return false
	}
	return true
}

// better is the answer worth more: anything the service said over silence, the
// later over the earlier.
func better(old, now answer) answer {
	if now.status == 0 && old.status != 0 {
		return old
	}
	return now
}
