package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/sim"
)

// simPhone are the flags of `sim phone`.
type simPhone struct {
	opts         sim.PhoneOptions
	passwordFile string
	script       string
	bind         []string
	verbose      bool
}

func simPhoneCommand() *cobra.Command {
	var p simPhone
	cmd := &cobra.Command{
		Use: "phone", Short: "Run a simulated iPhone that any SIP server can call and wake",
		Long: `Phone runs an iPhone with a VoIP app that registers at a SIP server, gets its pushes from
the APNs simulator, and obeys PushKit's and CallKit's rules or is killed for breaking them.

It takes commands line by line: from a terminal, from standard input, or from a file
(--script); "help" lists them. Unless it is at a terminal, the first command that fails ends
it, and the exit code is 0 only if none did and the phone broke no rule. With --json each
event is printed as one line of JSON.

Example, for a phone that sleeps until it is called:

    wait registered
    background
    wait asleep
    wait ringing 60s
    answer
    wait talking
    dtmf 123
    end
    wait ended hungUp

Policies:
` + policyList(),
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.run(cmd) },
	}
	p.flags(cmd)
	return cmd
}

func policyList() string {
	var b strings.Builder
	for _, p := range sim.PhonePolicies() {
		fmt.Fprintf(&b, "    %-20s %s\n", p.Name, p.About)
	}
	return b.String()
}

func (p *simPhone) flags(cmd *cobra.Command) {
	f, a := cmd.Flags(), &p.opts.Account
	f.StringVar(&a.Server, "server", "127.0.0.1:5060", "SIP server, `HOST:PORT`")
	f.StringVar(&a.Transport, "transport", "tcp", "udp, tcp or tls")
	f.StringVar(&a.User, "user", "", "SIP user `NAME`")
	f.StringVar(&a.Password, "password", "", "his password; others may see it here, --password-file keeps it from them")
	f.StringVar(&p.passwordFile, "password-file", "", "`FILE` with his password")
	f.StringVar(&a.Domain, "domain", "", "SIP domain (default: the server's host)")
	f.StringVar(&a.Display, "display", "", "his name as others see it")
	f.StringVar(&a.TLSCA, "tls-ca", "", "PEM `FILE` with the CA of the server (default: the system's)")
	f.StringVar(&a.Instance, "instance", "", "`UUID` of +sip.instance (default: a new one)")
	f.StringSliceVar(&p.bind, "bind", nil, "`ADDRESSES` of this machine to use, one after the other as the phone roams; --policy changes-address needs two, as 127.0.0.2,127.0.0.3")
	f.StringVar(&p.opts.App.BundleID, "bundle", sim.DefaultBundle, "bundle `ID` of the app")
	f.StringVar(&p.opts.App.TeamID, "team", sim.DefaultTeam, "team `ID` of the app")
	f.StringVar(&p.opts.Pushes.URL, "apns", "", "`URL` of the admin API of a running 'wakebridge sim apns'; without it no pushes come")
	f.StringVar(&p.opts.Pushes.Device, "device", "", "`NAME` of the phone at the APNs simulator (default: iphone); needs --apns")
	f.StringVar(&p.opts.Pushes.Environment, "environment", "", "how the app is signed: production or sandbox (default: production); needs --apns")
	f.BoolVar(&p.opts.Foreign, "foreign", false, "the server is not Wakebridge (Flexisip, say): register as Linphone does, and do not ask for what only Wakebridge does (rule invite-or-fate)")
	f.StringVar(&p.opts.Policy, "policy", "correct", "how the app behaves: a `NAME` of the list above")
	f.StringVar(&p.opts.IOS, "ios", "18", "`VERSION` of iOS, 8 or later")
	f.BoolVar(&p.opts.NoCallKit, "no-callkit", false, "the app may not use CallKit")
	f.BoolVar(&p.opts.App.Unentitled, "unentitled", false, "the app lacks the background mode 'Voice over IP': CallKit shows none of its calls")
	f.IntVar(&p.opts.App.CallGroups, "call-groups", 2, "`NUMBER` of calls at a time that the app can have (maximumCallGroups)")
	f.StringVar(&p.script, "script", "", "`FILE` of commands (default: standard input)")
	f.BoolVar(&p.opts.JSON, "json", false, "print JSON, a document per line")
	f.BoolVarP(&p.verbose, "verbose", "v", false, "write the phone's log to standard error")
}

func (p *simPhone) run(cmd *cobra.Command) error {
	p.opts.Log = slog.New(slog.DiscardHandler)
	if p.verbose {
		p.opts.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	in, err := p.read(cmd.InOrStdin())
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, sim.PhoneNotStarted(p.opts, cmd.OutOrStdout(), err))
	}
	defer in.Close()
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err = sim.RunPhone(ctx, p.opts, in, cmd.OutOrStdout())
	switch {
	case errors.Is(err, sim.ErrOption):
		return fmt.Errorf("%w: %w", errUsage, err)
	case errors.Is(err, sim.ErrScript), errors.Is(err, context.Canceled):
		return errFailed
	}
	return err
}

// read reads what flags name, and opens the input.
func (p *simPhone) read(stdin io.Reader) (io.ReadCloser, error) {
	if p.passwordFile != "" {
		b, err := os.ReadFile(p.passwordFile)
		if err != nil {
			return nil, err
		}
		p.opts.Account.Password = strings.TrimRight(string(b), "\r\n")
	}
	for _, text := range p.bind {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("--bind: %w", err)
		}
		p.opts.Bind = append(p.opts.Bind, a)
	}
	return p.input(stdin)
}

// input is where commands come from; at a terminal a mistake is no failure.
func (p *simPhone) input(stdin io.Reader) (io.ReadCloser, error) {
	p.opts.Script = true
	if p.script != "" {
		return os.Open(p.script)
	}
	if f, ok := stdin.(*os.File); ok && !p.opts.JSON {
		p.opts.Script = !isatty.IsTerminal(f.Fd())
	}
	return io.NopCloser(stdin), nil
}
