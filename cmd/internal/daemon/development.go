package daemon

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"wakebridge/config"
	"wakebridge/push/apnssim"
)

// What a development set-up is made of; nothing of it exists at Apple.
const (
	DevDomain = "wakebridge.test"
	DevBundle = "test.wakebridge.phone"
	DevTeam   = "WAKEBRIDGE"
	DevKey    = "DEVKEY0001"
)

// Development is a set-up on loopback that needs no file, no account and no root:
// two users, a trunk for a PBX on this machine, and an APNs of its own.
type Development struct {
	Config *config.Config
	APNs   *apnssim.Sim
	dir    string
	admin  *devAdmin // nil: not served
}

// devAdmin is the admin API of the simulated APNs on a port of loopback.
type devAdmin struct {
	server *http.Server
	addr   net.Addr
	served chan struct{} // closed when it has ended
}

// NewDevelopment makes a temporary folder, starts the simulated APNs and writes
// the configuration. Close undoes it.
func NewDevelopment() (*Development, error) { return NewDevelopmentWith(apnssim.Config{}) }

// NewDevelopmentWith is NewDevelopment with a simulated APNs of another temper, on
// both of its listeners if it names any; its log is set here.
func NewDevelopmentWith(ac apnssim.Config) (*Development, error) {
	dir, err := os.MkdirTemp("", "wakebridge-")
	if err != nil {
		return nil, err
	}
	d := &Development{dir: dir}
	if err := d.start(ac); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Development) start(ac apnssim.Config) error {
	if ac.Sandbox == nil && ac.Production == nil {
		var err error
		if ac.Sandbox, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
		if ac.Production, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return errors.Join(err, ac.Sandbox.Close())
		}
	}
	ac.Log = slog.New(slog.DiscardHandler)
	var err error
	if d.APNs, err = apnssim.New(ac); err != nil {
		return errors.Join(err, ac.Sandbox.Close(), ac.Production.Close())
	}
	if err := d.APNs.AddTeam(DevTeam, DevBundle); err != nil {
		return err
	}
	key, err := d.APNs.GenerateKey(DevTeam, DevKey)
	if err != nil {
		return err
	}
	keyFile, caFile := filepath.Join(d.dir, "AuthKey.p8"), filepath.Join(d.dir, "apns-ca.pem")
	if err := errors.Join(os.WriteFile(keyFile, key, 0o600), os.WriteFile(caFile, d.APNs.CAPEM(), 0o600)); err != nil {
		return err
	}
	d.Config = d.config(keyFile, caFile)
	return nil
}

func (d *Development) config(keyFile, caFile string) *config.Config {
	loopback := netip.MustParseAddr("127.0.0.1")
	cfg := config.Default()
	cfg.Node.DataDir = filepath.Join(d.dir, "data")
	cfg.Listen = []config.Listener{
		{Transport: "udp", Bind: netip.AddrPortFrom(loopback, 5060)},
		{Transport: "tcp", Bind: netip.AddrPortFrom(loopback, 5060)},
	}
	cfg.Media.Bind = []netip.Addr{loopback}
	user := func(name, display, number string) config.User {
		return config.User{Name: name, Password: config.NewSecret(strings.ToLower(rand.Text()[:12])), DisplayName: display, Numbers: []string{number}}
	}
	cfg.Domains = []config.Domain{{Name: DevDomain, Auth: []string{"md5", "sha-256"}, MaxContacts: 5, Expires: defaultExpires(),
		Users: []config.User{user("alice", "Alice", "201"), user("bob", "Bob", "202")}}}
	cfg.Trunks = []config.Trunk{{Name: "pbx", Kind: "peer", Match: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
		Contact: "sip:127.0.0.2:5060", MaxCalls: 100, ForceRPort: true}}
	cfg.Routes = []config.Route{{Name: "out", From: "users", Match: `^\+?[0-9]{3,15}$`, To: "trunk", Trunk: "pbx"}}
	cfg.Push.Apps = []config.App{{BundleID: DevBundle, TeamID: DevTeam, Environment: "auto", Payload: "wakebridge", CallerName: true, MissedCallAlert: true,
		Keys: []config.Key{{File: keyFile, ID: DevKey, Environment: "auto"}}}}
	cfg.Push.APNs = config.APNs{Production: d.APNs.URL(apnssim.Production), Sandbox: d.APNs.URL(apnssim.Sandbox), CAFile: caFile}
	return cfg
}

// defaultExpires are those of a domain that names none.
func defaultExpires() config.Expires {
	return config.Expires{Min: time.Minute, Default: time.Hour, Max: 30 * 24 * time.Hour}
}

// ServeAdmin serves the admin API of the simulated APNs on a free port of loopback,
// where `sim phone` gets its pushes. Close ends it.
func (d *Development) ServeAdmin() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a := &devAdmin{addr: ln.Addr(), served: make(chan struct{}),
		server: &http.Server{Handler: d.APNs.AdminHandler(), ReadHeaderTimeout: 10 * time.Second}}
	go func() { // awaited by Close
		defer close(a.served)
		a.server.Serve(ln) //nolint:errcheck // http.ErrServerClosed
	}()
	d.admin = a
	return nil
}

// Explain tells a person how to use the set-up, passwords included: they are good
// for this run only.
func (d *Development) Explain(out io.Writer) error {
	c := d.Config
	var b strings.Builder
	fmt.Fprintf(&b, "Development set-up (no --config): loopback only, gone when this ends.\n")
	for _, u := range c.Domains[0].Users {
		fmt.Fprintf(&b, "  user  sip:%s@%s  password %s  number %s\n", u.Name, DevDomain, u.Password.Reveal(), u.Numbers[0])
	}
	for _, l := range c.Listen {
		fmt.Fprintf(&b, "  listen  %s %s\n", l.Transport, l.Bind)
	}
	t := c.Trunks[0]
	fmt.Fprintf(&b, "  trunk   %s: a PBX at %s (it calls from there, and is called at %s)\n", t.Name, t.Match[0].Addr(), t.Contact)
	fmt.Fprintf(&b, "  app     pn-provider=apns;pn-param=%s.%s.voip with tokens of the simulated APNs\n", DevTeam, DevBundle)
	fmt.Fprintf(&b, "  http    http://%s/readyz\n", c.HTTP.Bind)
	if d.admin != nil {
		u := c.Domains[0].Users[0]
		fmt.Fprintf(&b, "A phone that sleeps and is woken: wakebridge sim phone --server %s --domain %s --user %s --password %s --apns http://%s\n",
			c.Listen[0].Bind, DevDomain, u.Name, u.Password.Reveal(), d.admin.addr)
	}
	fmt.Fprintf(&b, "Next: wakebridge demo, then docs/wakebridge.yaml for a file of your own.\n\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// Close ends the simulated APNs and its admin API, and removes the folder.
func (d *Development) Close() {
	if d.APNs != nil {
		d.APNs.Close() //nolint:errcheck // nothing of it is kept; ends the admin API's streams
	}
	if d.admin != nil {
		d.admin.server.Close() //nolint:errcheck // likewise
		<-d.admin.served
	}
	os.RemoveAll(d.dir) //nolint:errcheck // a temporary folder
}
