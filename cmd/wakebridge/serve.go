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
that it prints, a trunk for 127.0.0.2, and a simulated APNs; "wakebridge sim phone" is a
phone for it, with the flags that are printed.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), file, streams{cmd.OutOrStdout(), cmd.ErrOrStderr()})
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration `FILE`")
	return cmd
}

// streams are where serve writes: what a person must read first, and the log.
type streams struct{ out, log io.Writer }

func serve(ctx context.Context, file string, to streams) error {
	// From here on no signal kills a server that is starting.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(signals)
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
		if err := dev.ServeAdmin(); err != nil {
			return err
		}
		if err := dev.Explain(to.out); err != nil {
			return err
		}
	}
	log := daemon.NewLogger(cfg, to.log)
	daemon.Warn(cfg, log)
	d, err := daemon.New(ctx, cfg, daemon.Options{Log: log, Version: version})
	if err != nil {
		return err
	}
	log.Info("wakebridge is ready", "version", version)
	untilSignal(ctx, d, log, signals)
	return nil
}

// How long peers may take to answer our BYEs, at the end of a drain and after a
// second signal.
const (
	lastWords = 3 * time.Second
	fewWords  = 300 * time.Millisecond
)

// mortal gives the signals that end programs their own effect back.
func mortal() { signal.Reset(syscall.SIGTERM, syscall.SIGINT) }

// untilSignal drains at the first signal, or when ctx ends, and stops at the
// second. One that comes later kills.
func untilSignal(ctx context.Context, d *daemon.Daemon, log *slog.Logger, signals <-chan os.Signal) {
	drain, now := context.WithCancel(ctx)
	defer now()
	drained := make(chan struct{})
	draining := false
	begin := func() {
		draining = true
		log.Info("draining: no new calls, waiting for those in progress", "calls", d.Bridge().Active())
		go func() { // awaited below
			defer close(drained)
			d.Drain(drain)
		}()
	}
	ended := ctx.Done()
	for {
		select {
		case <-ended:
			ended = nil
			if !draining {
				begin()
			}
		case s := <-signals:
			switch {
			case s == syscall.SIGHUP:
				log.Warn("SIGHUP: reloading is not built yet; restart to read the configuration again")
			case draining:
				log.Warn("second signal: ending now", "calls", d.Bridge().Active())
				mortal()
				now()
			default:
				begin()
			}
		case <-drained:
			mortal()
			words := lastWords
			if drain.Err() != nil {
				words = fewWords
			}
			stop, cancel := context.WithTimeout(context.Background(), words)
			defer cancel()
			d.Stop(stop)
			log.Info("wakebridge has ended")
			return
		}
	}
}
