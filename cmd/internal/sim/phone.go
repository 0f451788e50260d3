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
	"wakebridge/push/apnssim"
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
	// Foreign says that the server is not Wakebridge: see iphone.Config.
	Foreign bool
	// Policy is the name of one of iphone.Policies. Default: the correct app.
	Policy string
	// IOS is the version of iOS, such as 18 or 26.4. Default: 18.
	IOS string
	// NoCallKit: the app may not use CallKit, as in mainland China.
	NoCallKit bool
	// Bind are addresses of this machine that the phone uses, the first at first, and
	// the next when it roams: the policy changes-address needs two. Default: whatever
	// the system chooses, and to roam is to change the port.
	Bind []netip.Addr
	// Script says that the input is a script: the first command that fails ends it,
	// and so does a broken rule.
	Script bool
	// JSON prints one JSON document per line and no other text.
	JSON bool
	// SwitchedOn gets each phone before its app is opened, for a test that looks at
	// more than what is printed. nil: nobody looks.
	SwitchedOn func(*iphone.Device)
	// Timing is how fast the phone is, for a test that cannot wait.
	Timing iphone.Timing
	Log    *slog.Logger // required
}

// PhonePushes say where the phone's pushes come from.
type PhonePushes struct {
	// URL is that of the APNs simulator's admin API (`wakebridge sim apns`). "": the
	// phone gets no pushes and has no tokens.
	URL string
	// Device is the phone's name there. Default: iphone.
	Device string
	// Environment is production or sandbox: how the app is signed. It means nothing
	// without a URL. Default: production.
	Environment string
}

// check finds what makes no sense.
func (p PhonePushes) check() error {
	switch env := p.Environment; {
	case env != "" && p.URL == "":
		return fmt.Errorf("%w: environment %s is one of an APNs simulator, and there is none (apns)", ErrOption, env)
	case p.Device != "" && p.URL == "":
		return fmt.Errorf("%w: device %s is one of an APNs simulator, and there is none (apns)", ErrOption, p.Device)
	case env != "" && env != string(apnssim.Production) && env != string(apnssim.Sandbox):
		return fmt.Errorf("%w: environment %q is neither production nor sandbox", ErrOption, env)
	}
	return nil
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
	s := newSession(ctx, opts, out)
	defer s.close()
	if err := s.start(ctx, opts); err != nil {
		s.close()
		return PhoneNotStarted(opts, out, err)
	}
	err := s.obey(ctx, in)
	if err == nil {
		s.farewell(ctx)
	}
	s.close() // what it prints comes before the result
	return s.conclude(err)
}

// PhoneNotStarted prints the result of a run that never began, if JSON was asked for,
// and returns err: whoever reads the documents gets one in each case.
func PhoneNotStarted(opts PhoneOptions, out io.Writer, err error) error {
	if opts.JSON {
		sc := screen{out: out, json: true}
		sc.conclusion(opts.Script, err, nil)
	}
	return err
}

// start switches the phones on and opens their apps.
func (s *session) start(ctx context.Context, opts PhoneOptions) error {
	cfg, err := phoneConfig(ctx, opts)
	if err != nil {
		return err
	}
	for i := range max(cfg.Policy.Phones, 1) {
		if err := s.switchOn(ctx, opts, cfg, i); err != nil {
			return err
		}
	}
	for _, p := range s.phones {
		if err := p.device.Open(); err != nil {
			return err
		}
	}
	return nil
}

// switchOn switches the phone at index i on.
func (s *session) switchOn(ctx context.Context, opts PhoneOptions, cfg iphone.Config, i int) error {
	name := opts.Pushes.Device
	if name == "" {
		name = "iphone"
	}
	if i > 0 {
		name = fmt.Sprintf("%s-%d", name, i+1)
		cfg.Account.Instance = "" // its own
	}
	var err error
	if cfg.Network, err = opts.network(cfg.Account.Server); err != nil {
		return err
	}
	cfg.Pushes = noPushes{}
	if opts.Pushes.URL != "" {
		p, err := dialPushes(ctx, opts.Pushes, name, opts.Log)
		if err != nil {
			return err
		}
		s.wg.Go(func() { p.listen(s.ctx) }) // awaited by close
		cfg.Pushes = p
	}
	d := iphone.New(cfg)
	s.add(d)
	if opts.SwitchedOn != nil {
		opts.SwitchedOn(d)
	}
	return nil
}

// phoneConfig is what all phones of a run have in common.
func phoneConfig(ctx context.Context, opts PhoneOptions) (iphone.Config, error) {
	cfg := iphone.Config{App: opts.App, NoCallKit: opts.NoCallKit, Foreign: opts.Foreign, Timing: opts.Timing, Log: opts.Log,
		Audio: softphone.AudioConfig{Source: softphone.Tone(toneOfPhone)}}
	if opts.App.BundleID == "" || opts.App.TeamID == "" {
		return cfg, fmt.Errorf("%w: bundle and team are needed to announce push tokens", ErrOption)
	}
	if opts.Foreign && opts.Pushes.Environment == string(apnssim.Sandbox) {
		cfg.App.Provider = "apns.dev" // as Linphone does
	}
	var err error
	name := opts.Policy
	if name == "" {
		name = iphone.CorrectPolicy
	}
	if cfg.Policy, err = iphone.PolicyNamed(name); err != nil {
		return cfg, fmt.Errorf("%w: policy: %w", ErrOption, err)
	}
	if cfg.Policy.Roams && (len(opts.Bind) < 2 || opts.Bind[0] == opts.Bind[1]) {
		return cfg, fmt.Errorf("%w: policy %s goes from one address of this machine to another: name two by bind, on Linux 127.0.0.2,127.0.0.3",
			ErrOption, name)
	}
	if err := opts.Pushes.check(); err != nil {
		return cfg, err
	}
	if cfg.OS, cfg.OSMinor, err = readIOS(opts.IOS); err != nil {
		return cfg, err
	}
	if cfg.Account, err = opts.Account.read(ctx); err != nil {
		return cfg, err
	}
	return cfg, nil
}

// defaultWait is how long `wait` waits when no time is given.
const defaultWait = 30 * time.Second
