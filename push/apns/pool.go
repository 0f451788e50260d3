package apns

import (
	"sync/atomic"
	"time"

	"wakebridge/push"
)

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

// pick is the line to begin with: the one that answered last, unless the other is in a
// better state.
func (p *pool) pick() int {
	i := int(p.first.Load())
	if p.lines[1-i].state() < p.lines[i].state() {
		return 1 - i
	}
	return i
}
