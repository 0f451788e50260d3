package location

import (
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// A backend goes on announcing what stands in its database. A token that the push
// service called gone is not taken from it for deadFor; after that the next push
// tells again. Bounded, and forgotten by a restart: each forgotten one costs a push.
const (
	deadFor  = 24 * time.Hour
	deadMost = 4096
)

type deadToken struct {
	kind  TokenKind
	value string
}

// deadTokens are those that were called dead, and when.
type deadTokens struct {
	at *lru.Cache[deadToken, time.Time]
}

func newDeadTokens() (deadTokens, error) {
	at, err := lru.New[deadToken, time.Time](deadMost)
	if err != nil {
		return deadTokens{}, fmt.Errorf("memory of dead tokens: %w", err)
	}
	return deadTokens{at}, nil
}

func (d deadTokens) add(kind TokenKind, value string, now time.Time) {
	d.at.Add(deadToken{kind, value}, now)
}

func (d deadTokens) has(kind TokenKind, value string, now time.Time) bool {
	at, ok := d.at.Get(deadToken{kind, value})
	return ok && now.Sub(at) < deadFor
}

// announced takes back what was said of the tokens of push: the phone itself named
// them, and it knows.
func (d deadTokens) announced(push PushInfo) {
	for _, kind := range []TokenKind{VoIP, Alert} {
		d.at.Remove(deadToken{kind, push.Token(kind).Value})
	}
}

// withoutDead is push, which a backend announces for a device, without the tokens
// that were called dead.
func (a *applying) withoutDead(ref Ref, push PushInfo) PushInfo {
	for _, kind := range []TokenKind{VoIP, Alert} {
		if t := push.token(kind); !t.IsZero() && a.dead.has(kind, t.Value, a.now) {
			a.note(TokenDead, ref, Ref{}, t.Value)
			*t = Token{}
		}
	}
	return push
}
