package apns

import (
	"fmt"
	"net/http"

	"wakebridge/push"
)

// builder makes senders that share provider tokens and connections.
type builder struct {
	config    Config
	addrs     map[push.Environment]string
	transport *http.Transport
	metrics   *metrics
	service   *Service
	tokens    map[credential]*providerToken // env is empty: one token for both
}

func (b *builder) sender(app App) *sender {
	s := &sender{app: app, pools: make(map[push.Environment]*pool)}
	for _, env := range []push.Environment{push.Production, push.Sandbox} {
		if app.Environment.Known() && app.Environment != env {
			continue
		}
		if k, ok := keyFor(app.Keys, env); ok {
			s.pools[env] = b.pool(app.TeamID, k, env)
		}
	}
	return s
}

// keyFor is the key to use in env: one made for it before one for both.
func keyFor(keys []Key, env push.Environment) (Key, bool) {
	for _, k := range keys {
		if k.Environment == env {
			return k, true
		}
	}
	for _, k := range keys {
		if k.serves(env) {
			return k, true
		}
	}
	return Key{}, false
}

func (b *builder) pool(team string, k Key, env push.Environment) *pool {
	id := credential{team: team, keyID: k.ID, env: env}
	if p, ok := b.service.pools[id]; ok {
		return p
	}
	p := &pool{env: env, base: b.config.Production, token: b.token(team, k)}
	if env == push.Sandbox {
		p.base = b.config.Sandbox
	}
	for i := range p.lines {
		name := fmt.Sprintf("%s/%s/%d", env, k.ID, i+1)
		d := dialer{addr: b.addrs[env], transport: b.transport, counted: b.metrics.dialed(env)}
		p.lines[i] = newLine(d, b.config.Log.With("line", name))
	}
	b.service.pools[id] = p
	return p
}

func (b *builder) token(team string, k Key) *providerToken {
	id := credential{team: team, keyID: k.ID}
	t, ok := b.tokens[id]
	if !ok {
		t = &providerToken{team: team, key: k, counted: b.metrics.tokens.Inc}
		b.tokens[id] = t
	}
	return t
}
