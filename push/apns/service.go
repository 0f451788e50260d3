package apns

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/push"
)

// Apple's addresses.
const (
	ProductionURL = "https://api.push.apple.com"
	SandboxURL    = "https://api.sandbox.push.apple.com"
)

// Config is what a Service is made of.
type Config struct {
	Production string         // base URL, https. Default: ProductionURL.
	Sandbox    string         // Default: SandboxURL.
	RootCAs    *x509.CertPool // whom to trust. Default: the system's.
	Apps       []App
	Dial       DialFunc     // Default: net.Dialer.
	Log        *slog.Logger // Default: none.
	// Poll is how often the files of keys and certificates are looked at, and
	// how soon an expiry is told of. Default: 30 s.
	Poll    time.Duration
	Metrics prometheus.Registerer // Default: none.
}

// App is an app and its credentials.
type App struct {
	BundleID string // without ".voip"
	TeamID   string
	// Environment fixes that of all its devices; Auto (or empty) leaves it to
	// each device.
	Environment push.Environment
	// Payload lays the notification out. Default: push.Wakebridge.
	Payload push.Template
	// Keys: the first that serves an environment is used there, one that names
	// the environment before one that serves both. Where a key serves an
	// environment, the certificates are not used there.
	Keys []Key
	// VoIP is for VoIP pushes, Alert for the others: Apple gave out two. One
	// certificate may be both; the zero value is none.
	VoIP, Alert Certificate
}

// Service holds the connections and provider tokens of all apps. Apps of one
// team with one key share them.
type Service struct {
	routes  []push.Route
	pools   map[identifier]*pool
	keeping sync.WaitGroup // the keeper
	stop    context.CancelFunc
}

// identifier is what one connection stands for: a team's key or a certificate,
// in one environment.
type identifier struct {
	team, keyID string
	cert        string
	env         push.Environment
}

// New checks c and begins to connect to the environments that will be used
// first. The error wraps ErrBadConfig and names every fault. Close ends it.
func New(c Config) (*Service, error) {
	if c.Production == "" {
		c.Production = ProductionURL
	}
	if c.Sandbox == "" {
		c.Sandbox = SandboxURL
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if c.Poll <= 0 {
		c.Poll = pollEvery
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	addrs := make(map[push.Environment]string)
	var faults []error
	for _, at := range []struct {
		env  push.Environment
		base *string
	}{{push.Production, &c.Production}, {push.Sandbox, &c.Sandbox}} {
		addr, err := address(at.base)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", at.env, err))
		}
		addrs[at.env] = addr
	}
	keys := make(map[string]Key)
	for _, app := range c.Apps {
		faults = append(faults, app.faults(keys)...)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadConfig, err)
	}
	s := &Service{pools: make(map[identifier]*pool)}
	b := newBuilder(c, addrs, m, s)
	for _, app := range c.Apps {
		sender := b.sender(app)
		s.routes = append(s.routes, push.Route{App: push.App{BundleID: app.BundleID, TeamID: app.TeamID}, Sender: sender})
		for _, pools := range []map[push.Environment]*pool{sender.voip, sender.plain} {
			if envs := sender.environments(push.Target{}, pools); len(envs) > 0 {
				pools[envs[0]].warm()
			}
		}
	}
	life, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.keeping.Go(func() { b.keeper.run(life) }) // Close waits
	return s, nil
}

// Routes are the apps' senders, for push.NewMux.
func (s *Service) Routes() []push.Route { return s.routes }

// Close ends all connections and waits. Pushes under way get no answer. It may
// be called again.
func (s *Service) Close() error {
	s.stop()
	s.keeping.Wait()
	for _, p := range s.pools {
		p.close()
	}
	return nil
}

var bundleIDs = regexp.MustCompile(`^[A-Za-z0-9.-]{1,155}$`)

// faults lists what is wrong with an app. keys are those seen so far, by id.
func (a App) faults(keys map[string]Key) []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("app %q: %s", a.BundleID, fmt.Sprintf(format, args...)))
	}
	switch {
	case !bundleIDs.MatchString(a.BundleID):
		fault("bundle_id must be letters, digits, hyphens and periods")
	case strings.HasSuffix(a.BundleID, ".voip"):
		fault("bundle_id is given without .voip")
	}
	if a.TeamID == "" {
		fault("team_id is missing")
	}
	usable := a.VoIP.usableIn(a.Environment) || a.Alert.usableIn(a.Environment)
	for _, k := range a.Keys {
		if k.private == nil || k.ID == "" {
			fault("%s was not loaded", k)
			continue
		}
		if old, ok := keys[k.ID]; ok && !old.private.Equal(k.private) {
			fault("%s is another key than the one of that id in another place", k)
		}
		keys[k.ID] = k
		usable = usable || !a.Environment.Known() || k.serves(a.Environment)
	}
	for topic, cert := range map[string]Certificate{a.BundleID + ".voip": a.VoIP, a.BundleID: a.Alert} {
		if !cert.IsZero() && !cert.Covers(topic) {
			fault("%s is not for the topic %s", cert, topic)
		}
	}
	switch {
	case len(a.Keys) == 0 && a.VoIP.IsZero() && a.Alert.IsZero():
		fault("no key and no certificate")
	case !usable:
		fault("no key serves the %s environment, nor a certificate", a.Environment)
	}
	return faults
}

// usableIn says that there is one and that it serves env, where that is known.
func (c Certificate) usableIn(env push.Environment) bool {
	return !c.IsZero() && (!env.Known() || c.serves(env))
}

// address checks a base URL, puts it into its plain form and gives host:port.
func address(base *string) (string, error) {
	u, err := url.Parse(*base)
	if err != nil {
		return "", errors.New("the address is not a URL")
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", errors.New("the address must be https://host or https://host:port")
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	*base = "https://" + u.Host
	return net.JoinHostPort(u.Hostname(), port), nil
}
