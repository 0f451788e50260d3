package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/daemon"
)

func serveCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the bridge",
		Long: `Serve runs the bridge until SIGTERM or SIGINT. It then takes no new calls, waits for
those in progress (calls.drain_timeout) and ends; a second signal ends it at once.

Without --config it starts a development set-up on loopback: two users with passwords
that it prints, a trunk for 127.0.0.1, and a simulated APNs.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), file, cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration `FILE`")
	return cmd
}

func serve(ctx context.Context, file string, out io.Writer) error {
	var cfg *daemon.Config
	if file != "" {
		var err error
		if cfg, err = daemon.Load(file, os.Environ()); err != nil {
			return err
		}
	} else {
		dev, err := daemon.NewDevelopment()
		if err != nil {
			return err
		}
		defer dev.Close()
		cfg = dev.Config
		if err := dev.Explain(out); err != nil {
			return err
		}
	}
	log := daemon.NewLogger(cfg, os.Stderr)
	signals := make(chan os.Signal, 4) // from here on: no signal may kill a server that is starting
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
	d, err := daemon.New(ctx, cfg, daemon.Options{Log: log, Version: version})
	if err != nil {
		return err
	}
	log.Info("wakebridge is ready", "version", version)
	untilSignal(ctx, d, log, signals)
	return nil
}

// untilSignal drains at the first signal and stops at the second.
func untilSignal(ctx context.Context, d *daemon.Daemon, log *slog.Logger, signals <-chan os.Signal) {
	drained := make(chan struct{})
	ctx, now := context.WithCancel(ctx)
	defer now()
	draining := false
	for {
		select {
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				log.Warn("SIGHUP: reloading is not built yet; restart to read the configuration again")
			case draining:
				log.Warn("second signal: ending now")
				now()
			default:
				draining = true
				log.Info("draining: no new calls, waiting for those in progress", "calls", d.Bridge().Active())
				go func() { // awaited below
					defer close(drained)
					d.Drain(ctx)
				}()
			}
		case <-drained:
			stop, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			d.Stop(stop)
			log.Info("wakebridge has ended")
			return
		}
	}
}
