package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// Errors of RunPhone.
var (
	// ErrOption says that an option makes no sense; the text says which.
	ErrOption = errors.New("option")
	// ErrScript says that a script did not go through, or that the phone broke a
	// rule meanwhile. All of it was printed.
	ErrScript = errors.New("the script failed")
)

// PhoneOptions say what RunPhone runs.
type PhoneOptions struct {
	Account PhoneAccount
	App     iphone.App
	Pushes  PhonePushes
	// Policy is the name of one of iphone.Policies. Default: the correct app.
	Policy string
	// IOS is the version of iOS, such as 18 or 26.4. Default: 18.
	IOS string
	// NoCallKit: the app may not use CallKit, as in mainland China.
	NoCallKit bool
	// Bind are addresses of this machine that the phone uses, the first at first, and
	// the next when it roams (policy changes-address). Default: whatever the system
	// chooses, and to roam is to change the port.
	Bind []netip.Addr
	// Script says that the input is a script: the first command that fails ends it,
	// and so does a broken rule.
	Script bool
	// JSON prints one JSON document per line and no other text.
	JSON bool
	Log  *slog.Logger // required
}

// PhonePushes say where the phone's pushes come from.
type PhonePushes struct {
	// URL is that of the APNs simulator's admin API (`wakebridge sim apns`). "": the
	// phone gets no pushes and has no tokens.
	URL string
	// Device is the phone's name there. Default: iphone.
	Device string
	// Environment is production or sandbox: how the app is signed. Default:
	// production.
	Environment string
}

// DefaultBundle and DefaultTeam are those of the development set-up.
const (
	DefaultBundle = daemon.DevBundle
	DefaultTeam   = daemon.DevTeam
)

// PhonePolicies are the ways in which a phone can behave.
func PhonePolicies() []iphone.Policy { return iphone.Policies() }

// toneOfPhone is what the phone says in a call, in Hz.
const toneOfPhone = 620

// RunPhone runs a simulated iPhone, or two (policy two-phones), whose app the user
// has just opened; it obeys the commands that come line by line from in until that
// ends, and prints what happens to out. Errors: ErrOption, ErrScript, ctx's, those
// of the push service.
func RunPhone(ctx context.Context, opts PhoneOptions, in io.Reader, out io.Writer) error {
	cfg, err := phoneConfig(ctx, opts)
	if err != nil {
		return err
	}
	s := &session{script: opts.Script, screen: &screen{out: out, json: opts.JSON}}
	defer s.close()
	for i := range max(cfg.Policy.Phones, 1) {
		name := opts.Pushes.Device
		if name == "" {
			name = "iphone"
		}
		c := cfg
		if i > 0 {
			name = fmt.Sprintf("%s-%d", name, i+1)
			c.Account.Instance = "" // its own
		}
		if c.Pushes, err = openPushes(ctx, opts, name); err != nil {
			return err
		}
		if c.Network, err = opts.network(c.Account.Server); err != nil {
			return err
		}
		s.add(iphone.New(c))
	}
	for _, p := range s.phones {
		if err := p.device.Open(); err != nil {
			return err
		}
	}
	err = s.obey(ctx, in)
	if err == nil {
		s.farewell(ctx)
	}
	s.close() // what it prints comes before the result
	return s.conclude(err)
}

// phoneConfig is what all phones of a run have in common.
func phoneConfig(ctx context.Context, opts PhoneOptions) (iphone.Config, error) {
	cfg := iphone.Config{App: opts.App, NoCallKit: opts.NoCallKit, Log: opts.Log,
		Audio: softphone.AudioConfig{Source: softphone.Tone(toneOfPhone)}}
	if opts.App.BundleID == "" || opts.App.TeamID == "" {
		return cfg, fmt.Errorf("%w: bundle and team are needed to announce push tokens", ErrOption)
	}
	var err error
	name := opts.Policy
	if name == "" {
		name = iphone.CorrectPolicy
	}
	if cfg.Policy, err = iphone.PolicyNamed(name); err != nil {
		return cfg, fmt.Errorf("%w: policy: %w", ErrOption, err)
	}
	if cfg.OS, cfg.OSMinor, err = readIOS(opts.IOS); err != nil {
		return cfg, err
	}
	if cfg.Account, err = opts.Account.read(ctx); err != nil {
		return cfg, err
	}
	return cfg, nil
}

// openPushes connects a phone to the push service.
func openPushes(ctx context.Context, opts PhoneOptions, name string) (iphone.PushSource, error) {
	if opts.Pushes.URL == "" {
		return noPushes{}, nil
	}
	env := opts.Pushes.Environment
	if env == "" {
		env = "production"
	}
	return dialPushes(ctx, pushesConfig{url: opts.Pushes.URL, device: name, environment: env, log: opts.Log})
}

// noPushes is a push service that serves nobody.
type noPushes struct{}

func (noPushes) RegisterVoIP(string) string  { return "" }
func (noPushes) RegisterAlert(string) string { return "" }
func (noPushes) Reinstall(string)            {}
func (noPushes) Online(bool)                 {}
func (noPushes) Next(ctx context.Context) (iphone.Push, error) {
	<-ctx.Done()
	return iphone.Push{}, ctx.Err()
}

// defaultWait is how long `wait` waits when no time is given.
const defaultWait = 30 * time.Second
