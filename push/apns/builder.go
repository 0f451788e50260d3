package apns

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"path/filepath"
	"strconv"

	"wakebridge/push"
)

// builder makes senders that share provider tokens, certificates and
// connections.
type builder struct {
	config    Config
	addrs     map[push.Environment]string
	transport *http.Transport // of all connections without certificate
	metrics   *metrics
	service   *Service
	keeper    *keeper
	alarms    *alarms
	tokens    map[identifier]*providerToken // env is empty: one token for both
	certs     map[string]*identity          // by Certificate.id
}

func newBuilder(c Config, addrs map[push.Environment]string, m *metrics, s *Service) *builder {
	return &builder{
		config: c, addrs: addrs, metrics: m, service: s,
		transport: newTransport(c.Dial, c.RootCAs, nil),
		keeper:    &keeper{every: c.Poll, log: c.Log},
		alarms:    &alarms{log: c.Log, counted: m.alarm},
		tokens:    make(map[identifier]*providerToken), certs: make(map[string]*identity),
	}
}

func (b *builder) sender(app App) *sender {
	s := &sender{app: app, voip: make(map[push.Environment]*pool), plain: make(map[push.Environment]*pool)}
	for _, env := range []push.Environment{push.Production, push.Sandbox} {
		if app.Environment.Known() && app.Environment != env {
			continue
		}
		if k, ok := keyFor(app.Keys, env); ok {
			p := b.keyPool(app.TeamID, k, env)
			s.voip[env], s.plain[env] = p, p
			continue
		}
		if app.VoIP.serves(env) {
			s.voip[env] = b.certPool(app.VoIP, env)
		}
		if app.Alert.serves(env) {
			s.plain[env] = b.certPool(app.Alert, env)
		}
	}
	b.expiry(app.BundleID, push.VoIP, app.VoIP)
	b.expiry(app.BundleID, push.Alert, app.Alert)
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

func (b *builder) keyPool(team string, k Key, env push.Environment) *pool {
	id := identifier{team: team, keyID: k.ID, env: env}
	if p, ok := b.service.pools[id]; ok {
		return p
	}
	p := b.pool(env, k.ID, b.transport)
	p.token = b.token(team, k)
	b.service.pools[id] = p
	return p
}

func (b *builder) certPool(c Certificate, env push.Environment) *pool {
	id := identifier{cert: c.id(), env: env}
	if p, ok := b.service.pools[id]; ok {
		return p
	}
	cert := b.identity(c)
	name := filepath.Base(c.id())
	p := b.pool(env, name, newTransport(b.config.Dial, b.config.RootCAs, func() *tls.Certificate { return &cert.current().pair }))
	p.cert = cert
	b.service.pools[id] = p
	return p
}

// pool makes two lines for the credential of that name.
func (b *builder) pool(env push.Environment, name string, transport *http.Transport) *pool {
	p := &pool{env: env, base: b.config.Production, alarm: b.alarms.raise}
	if env == push.Sandbox {
		p.base = b.config.Sandbox
	}
	log := b.config.Log.With("credential", name, "env", string(env))
	p.gate = gate{log: log, set: b.metrics.breaks(env, name), breakers: make(map[string]*breaker)}
	p.gate.set("", false)
	for i := range p.lines {
		d := dialer{addr: b.addrs[env], transport: transport, counted: b.metrics.dialed(env)}
		p.lines[i] = newLine(d, log.With(slog.String("line", strconv.Itoa(i+1))))
	}
	return p
}

func (b *builder) token(team string, k Key) *providerToken {
	id := identifier{team: team, keyID: k.ID}
	t, ok := b.tokens[id]
	if ok {
		return t
	}
	t = &providerToken{team: team, key: k, counted: b.metrics.tokens.Inc}
	b.tokens[id] = t
	b.keeper.watch(k.origin, func() error {
		fresh, err := LoadKey(k.origin.file, k.ID)
		if err != nil {
			return err
		}
		t.replace(fresh)
		b.replaced(func(p *pool) bool { return p.token == t })
		return nil
	})
	return t
}

func (b *builder) identity(c Certificate) *identity {
	cert, ok := b.certs[c.id()]
	if ok {
		return cert
	}
	cert = &identity{}
	cert.value.Store(&c)
	b.certs[c.id()] = cert
	b.keeper.watch(c.origin, func() error {
		fresh, err := LoadCertificate(c.origin.file, c.origin.passwordFile)
		if err == nil {
			err = cert.replace(fresh)
		}
		if err != nil {
			return err
		}
		b.replaced(func(p *pool) bool { return p.cert == cert })
		return nil
	})
	return cert
}

// replaced makes the pools of a credential start anew. It is called by the
// keeper only, long after the pools were made.
func (b *builder) replaced(concerned func(*pool) bool) {
	for _, p := range b.service.pools {
		if concerned(p) {
			p.replaced()
		}
	}
}

// expiry has the end of a certificate shown and told of.
func (b *builder) expiry(bundle string, kind push.Kind, c Certificate) {
	if c.IsZero() {
		return
	}
	cert := b.identity(c)
	cert.uses = append(cert.uses, bundle+topicSuffix(kind))
	gauge := b.metrics.expiry.WithLabelValues(bundle, string(kind))
	b.keeper.expires(cert, gauge.Set)
}

// topicSuffix is what a kind of push adds to the bundle id.
func topicSuffix(k push.Kind) string {
	if k == push.VoIP {
		return ".voip"
	}
	return ""
}
