package apns

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"

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
	Dial       DialFunc              // Default: net.Dialer.
	Log        *slog.Logger          // Default: none.
	Metrics    prometheus.Registerer // Default: none.
}

// App is an app and its credentials.
type App struct {
	BundleID string // without ".voip"
	TeamID   string
	// Environment fixes that of all its devices; Auto (or empty) leaves it to
	// each device.
	Environment push.Environment
	// Keys: the first that serves an environment is used there, one that names
	// the environment before one that serves both.
	Keys []Key
}

// Service holds the connections and provider tokens of all apps. Apps of one
// team with one key share them.
type Service struct {
	routes []push.Route
	pools  map[credential]*pool
}

// credential is what one connection stands for.
type credential struct {
	team, keyID string
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
	s := &Service{pools: make(map[credential]*pool)}
	b := builder{config: c, addrs: addrs, metrics: m, service: s, tokens: make(map[credential]*providerToken)}
	b.transport = newTransport(c.Dial, c.RootCAs)
	for _, app := range c.Apps {
		sender := b.sender(app)
		s.routes = append(s.routes, push.Route{App: push.App{BundleID: app.BundleID, TeamID: app.TeamID}, Sender: sender})
		if envs := sender.environments(push.Auto); len(envs) > 0 {
			sender.pools[envs[0]].warm()
		}
	}
	return s, nil
}

// Routes are the apps' senders, for push.NewMux.
func (s *Service) Routes() []push.Route { return s.routes }

// Close ends all connections and waits. Pushes under way get no answer. It may
// be called again.
func (s *Service) Close() error {
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
	if len(a.Keys) == 0 {
		fault("no key")
	}
	usable := false
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
	if len(a.Keys) > 0 && !usable {
		fault("no key serves the %s environment", a.Environment)
	}
	return faults
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
