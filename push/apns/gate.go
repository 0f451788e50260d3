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

// breaker is open until a time, then half open: one push may try.
type breaker struct {
	why     string // the refusal in words
	next    action
	until   time.Time
	pause   time.Duration
	probing chan struct{} // closed when the push that tries has come back; nil: none tries
}

// pass lets one push through.
type pass struct {
	topic string
	probe bool // of a breaker that was open
}

// held is why a push may not go.
type held struct {
	words string
	next  action
	trial <-chan struct{} // of the push that tries; nil: none does
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
		if b.probing != nil {
			return pass{}, &held{fmt.Sprintf("not sent, a moment ago %s; it is being tried again", b.why), b.next, b.probing}
		}
	}
	for _, at := range []string{"", topic} {
		if b := g.breakers[at]; b != nil {
			b.probing, p.probe = make(chan struct{}), true
		}
	}
	return p, nil
}

// await is enter that waits, for as long as a request may be silent, for a push that
// is trying the credential: the other phones of a call that finds it mended ring too.
func (g *gate) await(ctx context.Context, topic string) (pass, *held) {
	ctx, cancel := context.WithTimeout(ctx, hedgeAfter)
	defer cancel()
	for {
		p, why := g.enter(topic)
		if why == nil || why.trial == nil {
			return p, why
		}
		select {
		case <-why.trial:
		case <-ctx.Done():
			return p, why
		}
	}
}

// leave learns from what became of a push that was let through.
func (g *gate) leave(p pass, o outcome) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.probe {
		for _, at := range []string{"", p.topic} {
			if b := g.breakers[at]; b != nil && b.probing != nil {
				close(b.probing) // whoever waits sees the outcome below: it needs mu
				b.probing = nil
			}
		}
	}
	switch {
	case o.blame == credential:
		g.breakLocked("", p, o)
	case o.blame == topic:
		delete(g.breakers, "")
		g.set("", false)
		g.breakLocked(p.topic, p, o)
	case proves(o):
		for _, at := range []string{"", p.topic} {
			if _, broken := g.breakers[at]; broken {
				delete(g.breakers, at)
				g.set(at, false)
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

// breakLocked opens the breaker of a topic, or opens it again for longer. Pushes
// that were under way when it opened change nothing. mu is held.
func (g *gate) breakLocked(at string, p pass, o outcome) {
	b := g.breakers[at]
	now := time.Now()
	if b != nil && !p.probe {
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
	for at, b := range g.breakers {
		g.set(at, false)
		if b.probing != nil {
			close(b.probing)
		}
	}
	clear(g.breakers)
}
