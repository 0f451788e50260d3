package apns

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"wakebridge/push"
)

const (
	// firstPause and longestPause bound how long a broken credential rests
	// before a push tries it again; each failure doubles the pause.
	firstPause   = 5 * time.Second
	longestPause = 5 * time.Minute
	// behind is how long pushes that wait for a silent one let its hedge go ahead: by
	// then it is known which line is silent.
	behind = 20 * time.Millisecond
)

// gate holds back pushes that APNs would refuse because of their key or
// certificate: refused requests by the hundred make Apple close connections,
// and a caller need not wait for what is known. One breaker for the whole
// credential (topic ""), one for each topic that it may not send to.
type gate struct {
	log *slog.Logger                    // names the credential
	set func(topic string, broken bool) // the metric

	mu       sync.Mutex
	breakers map[string]*breaker
}

// breaker is open until a time, then half open: one push may try, and all if that one is
// silent.
type breaker struct {
	why   string // the refusal in words
	next  action
	until time.Time
	pause time.Duration
	trial *trial // nil: none tries
}

// trial is a push that tries a broken credential, and those that go beside it once it
// has had no answer for so long that they need not wait: only refusals are to be spared.
type trial struct {
	overdue time.Time     // when that is
	done    chan struct{} // closed when the next may try; under the gate's mu
	ended   bool          // done is closed
}

// awaited says that there is one, and that it has not come to its end.
func (t *trial) awaited() bool { return t != nil && !t.ended }

func (t *trial) end() {
	if t != nil && !t.ended {
		t.ended = true
		close(t.done)
	}
}

// pass lets one push through.
type pass struct {
	topic string
	trial *trial // of a breaker that was open; nil: there was none
}

// held is why a push may not go.
type held struct {
	words string
	next  action
	trial *trial // of the push that tries; nil: none does
}

// enter lets a push to a topic through, or says why not.
func (g *gate) enter(topic string) (pass, *held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	p := pass{topic: topic}
	for _, at := range []string{"", topic} {
		b := g.breakers[at]
		if b == nil {
			continue
		}
		if rest := b.until.Sub(now); rest > 0 {
			return pass{}, &held{fmt.Sprintf("not sent, a moment ago %s; it is tried again in %s", b.why, max(rest.Round(time.Second), time.Second)), b.next, nil}
		}
		if b.trial.awaited() && now.Before(b.trial.overdue) {
			return pass{}, &held{fmt.Sprintf("not sent, a moment ago %s; it is being tried again", b.why), b.next, b.trial}
		}
	}
	for _, at := range []string{"", topic} {
		b := g.breakers[at]
		switch {
		case b == nil:
			continue
		case p.trial == nil && b.trial.awaited():
			p.trial = b.trial // it is silent: all who come now try beside it
		case p.trial == nil:
			p.trial = &trial{overdue: now.Add(hedgeAfter + behind), done: make(chan struct{})}
		}
		if b.trial != p.trial {
			b.trial.end()
			b.trial = p.trial
		}
	}
	return p, nil
}

// await is enter that waits for a push that is trying the credential: the other phones
// of a call that finds it mended ring too. If that push is silent for hedgeAfter, this one
// goes, as all do that wait.
func (g *gate) await(ctx context.Context, topic string) (pass, *held) {
	for {
		p, why := g.enter(topic)
		if why == nil || why.trial == nil {
			return p, why
		}
		silent := time.NewTimer(time.Until(why.trial.overdue))
		select {
		case <-why.trial.done:
		case <-silent.C:
		case <-ctx.Done():
			silent.Stop()
			return p, why
		}
		silent.Stop()
	}
}

// yield lets the next push try at once: this one tries no more, but its answer may
// still come.
func (g *gate) yield(p pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.yieldLocked(p)
}

func (g *gate) yieldLocked(p pass) {
	if p.trial == nil {
		return
	}
	for _, at := range []string{"", p.topic} {
		if b := g.breakers[at]; b != nil && b.trial == p.trial {
			b.trial = nil
		}
	}
	p.trial.end() // whoever waits sees what leave learns: it needs mu
}

// leave learns from what became of a push that was let through.
func (g *gate) leave(p pass, o outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.yieldLocked(p)
	switch {
	case o.blame == credential:
		g.breakLocked("", p, o)
	case o.blame == topic:
		g.mendLocked("")
		g.breakLocked(p.topic, p, o)
	case proves(o):
		for _, at := range []string{"", p.topic} {
			if g.breakers[at] != nil {
				g.mendLocked(at)
				g.log.Info("APNs takes the credential again", "topic", at)
			}
		}
	}
}

// proves says that an answer was given to somebody whom APNs knew: it speaks of
// the device token.
func proves(o outcome) bool {
	switch o.Reason {
	case badDeviceToken, "DeviceTokenNotForTopic", "Unregistered", "ExpiredToken", "TooManyRequests":
		return true
	}
	return o.Outcome == push.Accepted
}

// mendLocked removes the breaker of a topic, if there is one. mu is held.
func (g *gate) mendLocked(at string) {
	if b := g.breakers[at]; b != nil {
		b.trial.end()
		delete(g.breakers, at)
	}
	g.set(at, false)
}

// breakLocked opens the breaker of a topic, or opens it again for longer. Pushes
// that were under way when it opened change nothing. mu is held.
func (g *gate) breakLocked(at string, p pass, o outcome) {
	b := g.breakers[at]
	now := time.Now()
	if b != nil && (p.trial == nil || now.Before(b.until)) {
		return
	}
	if b == nil {
		b = &breaker{pause: firstPause / 2}
		g.breakers[at] = b
		g.set(at, true)
		g.log.Error("APNs refuses the credential: pushes with it are held back until it works or its file changes",
			"topic", at, "reason", string(o.Reason), "text", o.Text)
	}
	b.pause = min(2*b.pause, longestPause)
	b.why, b.next, b.until = o.Text, o.next, now.Add(b.pause)
}

// reset lets everything through: the credential is another one.
func (g *gate) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for at := range g.breakers {
		g.mendLocked(at)
	}
}
