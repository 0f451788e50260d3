package apns

import (
	"context"
	"slices"
	"sync"
	"time"

	"wakebridge/push"
)

const (
	// hedgeAfter is how long nothing may come back before the same push goes out on the
	// second line too.
	hedgeAfter = 1500 * time.Millisecond
	// doubtAfter is how long nothing may come back before the second line is made anew,
	// so that the hedge does not follow the push on a path that is dead as well.
	doubtAfter = time.Second
)

// silence is the time since which nothing came back: from the push's first request on,
// and again from the end of a try after which the fate of every request is known. The
// pause before the next try counts, so that tries that were answered put off no hedge.
// The zero value has no hedge.
type silence struct{ since time.Time }

// after is when the silence has lasted for d; it never comes without a hedge.
func (s silence) after(d time.Duration) (c <-chan time.Time, stop func() bool) {
	if s.since.IsZero() {
		return nil, func() bool { return true }
	}
	timer := time.NewTimer(time.Until(s.since.Add(d)))
	return timer.C, timer.Stop
}

// tally is what an attempt cost.
type tally struct {
	hedged bool // a second request was made
	maybe  int  // requests that were lost and may have been accepted all the same
	ended  bool // the push was stopped meanwhile, and heard out
}

// shot is one request of an attempt.
type shot struct {
	*exchange
	line   int
	cancel context.CancelFunc
	got    answer
	over   bool // got was received
}

// attempt is one try: a request and, if that is silent for too long, its hedge on the other
// line. All but the requests themselves is in one goroutine.
type attempt struct {
	pool    *pool
	letter  letter
	bearer  string
	shots   []*shot
	done    chan *shot
	running sync.WaitGroup
	best    answer
	cost    tally
}

// attempt makes a request on line i and the same one on the other line if the silence
// lasts for hedgeAfter. The first yes or final no counts; the other request is cancelled.
// A refusal for now leaves the other request its time, as that may be accepted: a dead
// connection is found by its pings. When ctx ends, what is written may still be answered
// for push.HearOut if somebody wants to know, and nothing else is sent.
func (p *pool) attempt(ctx context.Context, i int, hedge silence, bearer string, m letter) (answer, tally) {
	if err := ctx.Err(); err != nil {
		return answer{reason: push.Ended(err)}, tally{}
	}
	t := &attempt{pool: p, letter: m, bearer: bearer, done: make(chan *shot, len(p.lines))}
	defer t.end()
	t.shoot(ctx, i)
	t.listen(ctx, i, hedge)
	if err := ctx.Err(); err != nil && t.best.reason == push.Stopped {
		t.best.reason = push.Ended(err) // the request's own context knows no deadline
	}
	return t.best, t.cost
}

// shoot makes a request on a line.
func (t *attempt) shoot(ctx context.Context, i int) {
	request := context.WithCancel
	if h := push.HearingOf(ctx); h != nil {
		request = h.Request
	}
	s := &shot{exchange: &exchange{bearer: t.bearer, expiration: t.letter.expiration}, line: i}
	var own context.Context
	own, s.cancel = request(ctx)
	t.shots = append(t.shots, s)
	t.running.Go(func() {
		s.got = sendOnce(own, t.pool.lines[i], t.pool.base, s.exchange, t.letter)
		t.done <- s
	})
}

// listen waits for what comes of the request on line i, and hedges it.
func (t *attempt) listen(ctx context.Context, i int, hedge silence) {
	doubt, assume := hedge.after(doubtAfter)
	defer assume()
	silent, hear := hedge.after(hedgeAfter)
	defer hear()
	var stop <-chan struct{}
	if push.HearingOf(ctx) != nil {
		stop = ctx.Done()
	}
	var tooLate <-chan time.Time
	for {
		select {
		case <-doubt:
			if ctx.Err() == nil {
				t.pool.lines[1-i].freshen()
			}
		case <-silent:
			if ctx.Err() == nil {
				t.pool.lines[i].hush()
				t.cost.hedged = true
				t.shoot(ctx, 1-i)
			}
		case <-stop:
			stop, silent, doubt = nil, nil, nil
			if t.stopped() {
				tooLate = time.After(push.HearOut)
			}
		case <-tooLate:
			t.cancel(func(*shot) bool { return true })
		case s := <-t.done:
			if t.heard(s) {
				return
			}
		}
	}
}

// stopped takes back what is not on its way yet; the rest, if there is any, is heard out.
func (t *attempt) stopped() (rest bool) {
	whole := func(s *shot) bool { return s.whole.Load() }
	t.cancel(func(s *shot) bool { return !whole(s) })
	if !slices.ContainsFunc(t.shots, whole) {
		return false
	}
	t.cost.ended = true
	t.letter.stopped(t.cost.hedged)
	return true
}

// heard takes what came of a request, and says whether nothing is waited for any more.
func (t *attempt) heard(s *shot) (over bool) {
	s.over = true
	if s.got.maybe {
		t.cost.maybe++
	}
	if s.got.status != 0 {
		t.pool.lines[s.line].spoke()
		t.pool.first.Store(int32(s.line)) //nolint:gosec // 0 or 1
	}
	t.best = better(t.best, s.got)
	under := slices.ContainsFunc(t.shots, func(s *shot) bool { return !s.over })
	if under && !settled(s.got) {
		return false
	}
	if !s.got.accepted() { // another request may follow those that are cancelled now
		t.cost.maybe += t.open()
	}
	return true
}

// open counts the requests that may be at the service, which has not answered them.
func (t *attempt) open() (n int) {
	for _, s := range t.shots {
		if !s.over && s.head.Load() {
			n++
		}
	}
	return n
}

func (t *attempt) cancel(which func(*shot) bool) {
	for _, s := range t.shots {
		if which(s) {
			s.cancel()
		}
	}
}

// end takes back what is under way.
func (t *attempt) end() {
	t.cancel(func(*shot) bool { return true })
	t.running.Wait()
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
