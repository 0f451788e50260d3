package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/demo"
)

func demoCommand() *cobra.Command {
	opts := demo.Options{Version: version, Log: slog.New(slog.DiscardHandler)}
	var verbose bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Watch a call wake a sleeping iPhone, all on this machine",
		Long: `Demo runs the real server with a simulated PBX, a simulated APNs and a simulated iPhone
on free loopback ports, and shows what passes between them. It needs no account, no root
and no network. Exit code 0 only if everything happened that had to.

Scenes: ` + strings.Join(demo.Names(), ", ") + `; all plays every one.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verbose {
				opts.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
			}
			err := demo.Run(cmd.Context(), cmd.OutOrStdout(), opts)
			switch {
			case errors.Is(err, demo.ErrScene):
				return fmt.Errorf("%w: %w", errUsage, err)
			case errors.Is(err, demo.ErrFailed):
				return errFailed
			}
			return err
		},
	}
	cmd.Flags().StringVar(&opts.Scene, "scene", "answer", "what to show: a `NAME`, or all")
	cmd.Flags().BoolVar(&opts.JSON, "json", false, "print one JSON document")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "write the server's log to standard error")
	return cmd
}
