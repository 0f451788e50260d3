package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// isUsage knows the one error that cobra makes without a type.
func isUsage(err error) bool { return strings.HasPrefix(err.Error(), "unknown command") }

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%w: %s takes no argument, got %q", errUsage, cmd.Name(), args[0])
	}
	return nil
}

// oneArg wants exactly one argument, called name.
func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%w: %s wants one %s", errUsage, cmd.Name(), name)
		}
		return nil
	}
}
