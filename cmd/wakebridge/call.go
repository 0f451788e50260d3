package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/api"
)

func callCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "call", Short: "Look into a call", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return fmt.Errorf("%w: call wants a verb: pcap", errUsage) }}
	cmd.AddCommand(callPcapCommand())
	return cmd
}

func callPcapCommand() *cobra.Command {
	var client api.Client
	var out string
	cmd := &cobra.Command{
		Use: "pcap ID", Short: "Get what was on the wire of a call",
		Long: `Pcap gets the capture of a call from the running server: a pcapng file for Wireshark,
tshark or sngrep, with the SIP of both legs, the pushes as comments, and the RTP.
capture.calls in the configuration says of which calls there is one. Of a call that
goes on it gets what is written by now.

Passwords, keys and push tokens are blanked. SIP over TCP and TLS is shown as UDP.`,
		Example: "  wakebridge call pcap 6f1e9c9e-2c5d-4e0f-9a57-8d2f3b1c4a10\n  wakebridge call pcap 6f1e9c9e-2c5d-4e0f-9a57-8d2f3b1c4a10 -o - | tshark -r -",
		Args:    oneArg("call ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "-" {
				return client.Capture(cmd.Context(), args[0], cmd.OutOrStdout())
			}
			path := out
			if path == "" {
				path = filepath.Base(args[0]) + ".pcapng"
			}
			if err := save(cmd.Context(), client, args[0], path); err != nil {
				return err
			}
			if out == "" {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), path)
				return err
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&out, "output", "o", "", "write to this `FILE`, - for standard output (default ID.pcapng)")
	f.StringVar(&client.Server, "server", "http://127.0.0.1:8080", "`URL` of the server (http.bind)")
	f.StringVar(&client.TokenFile, "token-file", "", "`FILE` with the bearer token (http.token_file)")
	return cmd
}

// save writes a capture to a file, whole or not at all.
func save(ctx context.Context, client api.Client, id, path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = errors.Join(client.Capture(ctx, id, io.Writer(f)), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
