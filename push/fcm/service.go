package fcm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wakebridge/push"
)

// DefaultURL is Google's address.
const DefaultURL = "https://fcm.googleapis.com"

const (
	// idlePing and pingTimeout find a dead connection within 8 s.
	idlePing    = 5 * time.Second
	pingTimeout = 3 * time.Second
	dialTimeout = 5 * time.Second
)

// DialFunc makes a stream connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Config is what a Service is made of.
type Config struct {
	URL     string         // base URL, https. Default: DefaultURL.
	RootCAs *x509.CertPool // whom to trust, also for access tokens. Default: the system's.
	Apps    []App
	Dial    DialFunc              // Default: net.Dialer.
	Log     *slog.Logger          // Default: none.
	Metrics prometheus.Registerer // Default: none.
}

// App is an app, which is to FCM its Firebase project, and the account that
// sends for it.
type App struct {
	ProjectID string
	Account   Account
}

// Service holds the connections and access tokens of all apps.
type Service struct {
	routes    []push.Route
	access    map[string]*access // by account
	accounts  map[string]*access // by project
	transport *http.Transport
	stop      context.CancelFunc
	running   sync.WaitGroup // warming up
}

// New checks c and begins to sign in and to connect. The error wraps
// ErrBadConfig and names every fault. Close ends it.
func New(c Config) (*Service, error) {
	if c.URL == "" {
		c.URL = DefaultURL
	}
	if c.Dial == nil {
		c.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	base, err := baseURL(c.URL)
	faults := []error{err}
	for _, app := range c.Apps {
		faults = append(faults, app.fault())
	}
	if err := errors.Join(faults...); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadConfig, err)
	}
	counted, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	life, stop := context.WithCancel(context.Background())
	s := &Service{access: make(map[string]*access), accounts: make(map[string]*access), transport: newTransport(c.Dial, c.RootCAs), stop: stop}
	for _, app := range c.Apps {
		a, ok := s.access[app.Account.identity()]
		if !ok {
			a = newAccess(app.Account, s.transport, counted)
			s.access[app.Account.identity()] = a
		}
		s.accounts[app.ProjectID] = a
		url := base + "/v1/projects/" + app.ProjectID + "/messages:send"
		s.routes = append(s.routes, push.Route{App: push.App{Service: push.FCM, BundleID: app.ProjectID}, Sender: &sender{url: url, access: a, http: s.transport}})
	}
	s.running.Go(func() { s.warm(life, base, c.Log) }) // Close waits
	return s, nil
}

// warm signs in and connects, so that the first call does not wait for either.
// What fails here is told and tried again with the first push.
func (s *Service) warm(ctx context.Context, base string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	for _, a := range s.access {
		if _, err := a.current(ctx); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "signing in at FCM", "account", a.account, "problem", signInFailed(ctx, err).detail)
		}
	}
	if len(s.access) == 0 {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, base+"/", http.NoBody)
	if err != nil {
		return // baseURL has checked it
	}
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		log.DebugContext(ctx, "connecting to FCM", "err", err)
		return
	}
	res.Body.Close() // whatever it said: the connection is there
}

// Routes are the apps' senders, for push.NewMux.
func (s *Service) Routes() []push.Route { return s.routes }

// Close ends the connections and waits for requests for access tokens. Pushes
// under way end with their own contexts: close the push.Dispatcher first. It may
// be called again.
func (s *Service) Close() error {
	s.stop()
	for _, a := range s.access {
		a.close()
	}
	s.running.Wait()
	s.transport.CloseIdleConnections()
	return nil
}

func newTransport(dial DialFunc, roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		MaxResponseHeaderBytes: 16 << 10,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  idlePing,
			PingTimeout:      pingTimeout,
			WriteByteTimeout: idlePing,
		},
	}
}

// projectIDs is the form of a project's id; those of companies' old domains have
// a colon and periods.
var projectIDs = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{3,99}$`)

// fault is what is wrong with an app.
func (a App) fault() error {
	switch {
	case !projectIDs.MatchString(a.ProjectID):
		return fmt.Errorf("app %q: project_id must be letters in lower case, digits and hyphens", a.ProjectID)
	case len(a.Account.key) == 0:
		return fmt.Errorf("app %q: the service account was not loaded", a.ProjectID)
	}
	return nil
}

// baseURL checks an address and puts it into its plain form.
func baseURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("the address is not a URL")
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return "", errors.New("the address must be https://host or https://host:port")
	}
	return "https://" + u.Host, nil
}

// newMetrics makes the package's metric and registers it with reg; nil is
// allowed.
func newMetrics(reg prometheus.Registerer) (counted func(ok bool), err error) {
	tokens := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wakebridge_fcm_access_tokens_total",
		Help: "Requests for OAuth access tokens, by result (ok, failed): one for each account and hour.",
	}, []string{"result"})
	if reg != nil {
		if err := reg.Register(tokens); err != nil {
			return nil, fmt.Errorf("register FCM metrics: %w", err)
		}
	}
	good, bad := tokens.WithLabelValues("ok"), tokens.WithLabelValues("failed")
	return func(ok bool) {
		if ok {
			good.Inc()
		} else {
			bad.Inc()
		}
	}, nil
}
