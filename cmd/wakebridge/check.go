package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/daemon"
)

func checkCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Check a configuration file and name all its faults",
		Long: "Check reads a configuration file as serve would, with the WAKEBRIDGE_... variables,\nand names every fault with its line and cure. Exit code 3 if there is one; what it\nonly warns of, such as a certificate that expires within 30 days, is none.",
		Args: oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := daemon.Load(args[0], os.Environ())
			warnings := []daemon.Fault{}
			if cfg != nil {
				warnings = append(warnings, cfg.Warnings...)
			}
			out := cmd.OutOrStdout()
			if asJSON {
				report := &daemon.Report{Faults: []daemon.Fault{}}
				if err != nil && !errors.As(err, &report) {
					return err
				}
				if e := json.NewEncoder(out).Encode(map[string]any{"valid": err == nil, "faults": report.Faults, "omitted": report.Omitted, "warnings": warnings}); e != nil {
					return e
				}
				return err
			}
			if err != nil {
				return err
			}
			if err := daemon.ExplainWarnings(out, warnings); err != nil {
				return err
			}
			_, err = fmt.Fprintf(out, "%s: no fault found\n", args[0])
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
