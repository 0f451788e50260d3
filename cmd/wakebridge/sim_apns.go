package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/sim"
)

func simAPNsCommand() *cobra.Command {
	opts := sim.APNsOptions{Apps: sim.DefaultAPNsApps(), Log: slog.New(slog.DiscardHandler)}
	var verbose bool
	cmd := &cobra.Command{
		Use: "apns", Short: "Run an APNs that checks like Apple's and fails on demand",
		Long: `Apns runs Apple's push service in both its environments on this machine, with a CA, a .p8
key and on request certificates of its own, and prints each push until SIGINT. It checks
requests as Apple does, and fails as Apple can: from a file (--faults) or over its admin API.

The line that begins with "ready:" comes when it can be used; with --json that is the first
document, and each push is one more.

Exit code 0, but 1 if fewer pushes than --expect were accepted before --for or a signal
ended it, or if one was refused and --fail-refused is given; 2 and 3 are mistakes in the
flags and in the file of faults. Such a file:

    faults:
      - match: { topic: com.example.phone.voip, nth: 10 }
        action: { fault: respond, status: 503, reason: ServiceUnavailable }
      - match: { probability: 0.2 }
        action: { fault: delay, latency: 800ms, jitter: 400ms }
    network: { lose: 0.01, duplicate: 0.01, reorder: 0.05, reorder_by: 2s, late_zero: 0.1 }

Faults: respond, delay, hang, reset, cut, blackhole, goaway, refuse_tls, slow_handshake,
idle_close. A rule matches by token, topic, environment, nth, times and probability.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verbose {
				opts.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			return runSimAPNs(cmd, opts)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opts.Listen.Production, "production", "127.0.0.1:0", "`HOST:PORT` of the production environment; port 0 is a free one")
	f.StringVar(&opts.Listen.Sandbox, "sandbox", "127.0.0.1:0", "`HOST:PORT` of the sandbox")
	f.StringVar(&opts.Listen.Admin, "admin", "127.0.0.1:0", "`HOST:PORT` of the admin API, loopback only")
	f.StringSliceVar(&opts.Listen.Names, "name", nil, "more `NAMES` for the server certificate")
	f.StringVar(&opts.Dir, "dir", "", "`FOLDER` for the CA, the key and the certificates (default: a temporary one)")
	f.StringVar(&opts.Apps.TeamID, "team", opts.Apps.TeamID, "team `ID`, ten characters")
	f.StringVar(&opts.Apps.KeyID, "key", opts.Apps.KeyID, "`ID` of the .p8 key, ten characters")
	f.StringSliceVar(&opts.Apps.Bundles, "bundle", opts.Apps.Bundles, "bundle `IDS` of the apps")
	f.BoolVar(&opts.Apps.Certificates, "certificates", false, "make a VoIP and an alert certificate per app, .pem and .p12")
	f.StringSliceVar(&opts.Devices, "device", []string{"iphone"}, "devices that have tokens from the start: `NAME` or NAME:sandbox")
	f.StringVar(&opts.FaultsFile, "faults", "", "YAML or JSON `FILE` of faults and network")
	f.DurationVar(&opts.NetDelay, "net-delay", 0, "how long a push takes to its device")
	f.BoolVar(&opts.StrictThrottle, "strict-throttle", false, "lower the stream limit to one after each refused push")
	f.IntVar(&opts.Expect, "expect", 0, "end when so many pushes were accepted")
	f.DurationVar(&opts.For, "for", 0, "end after so long")
	f.BoolVar(&opts.FailRefused, "fail-refused", false, "exit code 1 if a push was refused, other than by a fault")
	f.BoolVar(&opts.JSON, "json", false, "print JSON, a document per line")
	f.BoolVarP(&verbose, "verbose", "v", false, "write the simulator's log to standard error")
	return cmd
}

func runSimAPNs(cmd *cobra.Command, opts sim.APNsOptions) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := sim.RunAPNs(ctx, opts, cmd.OutOrStdout())
	switch {
	case errors.Is(err, sim.ErrAPNsOption):
		return fmt.Errorf("%w: %w", errUsage, err)
	case errors.Is(err, sim.ErrAPNsFaults):
		return fmt.Errorf("%w: %w", errBadFile, err)
	}
	return err
}
