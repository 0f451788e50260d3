package main

import "github.com/spf13/cobra"

// simCommand is the parent of the simulators. Each is a file of its own:
// sim_apns.go, sim_phone.go.
func simCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "sim", Short: "Run a simulated APNs or iPhone, for tests of servers and apps"}
	cmd.AddCommand(
		simAPNsCommand(),
		simPhoneCommand(),
	)
	return cmd
}
