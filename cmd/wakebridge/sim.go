package main

import "github.com/spf13/cobra"

// simCommand is the parent of the simulators.
func simCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sim", Short: "Run a simulated iPhone, for tests of servers and apps"}
	cmd.AddCommand(simPhoneCommand())
	return cmd
}
