package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/api"
)

func pushCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "push", Short: "Test pushes", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return fmt.Errorf("%w: push wants a verb: test", errUsage) }}
	cmd.AddCommand(pushTestCommand())
	return cmd
}

func pushTestCommand() *cobra.Command {
	var req api.PushRequest
	var client api.Client
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "test", Short: "Push to a device and say what works and what does not",
		Long: `Test asks the running server to push, to the devices of a user or to a token, and
tells stage by stage what it found: the token, the configuration, the way to APNs,
the provider token, the answer of APNs or FCM in plain words with the cure, the
environment that answered, and with --wait how long the device took to register.

The push is an alert ("Wakebridge test") that the user sees. With --voip it is a VoIP
push: WITH IT THE IPHONE RINGS until the app learns that there is no call, and iOS
punishes an app that does not report it to CallKit. An Android app has no quiet push:
without --voip nothing is sent to it, and with --voip IT RINGS as well. Exit code 0 if
something was tested and all stages are ok.`,
		Example: "  wakebridge push test --user alice\n  wakebridge push test --user alice --voip --wait 15s\n  wakebridge push test --token 00fc13ad... --app com.example.phone",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (req.User == "") == (req.Token == "") || (req.Token == "") != (req.App == "") {
				return fmt.Errorf("%w: push test wants --user, or --token and --app", errUsage)
			}
			if wait < 0 || wait > api.LongestWait {
				return fmt.Errorf("%w: --wait %s is not a time up to %s", errUsage, wait, api.LongestWait)
			}
			if wait > 0 {
				req.Wait = wait.String()
			}
			out, err := client.TestPush(cmd.Context(), req)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(out)
			} else {
				err = out.Explain(cmd.OutOrStdout())
			}
			if err == nil && !out.OK {
				return errFailed
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.User, "user", "", "push to the devices of this `USER`, as name or name@domain")
	f.StringVar(&req.Instance, "instance", "", "only to the user's device with this +sip.instance `URN`")
	f.StringVar(&req.Token, "token", "", "push to this device `TOKEN`")
	f.StringVar(&req.App, "app", "", "`BUNDLE` id of the token's app, or its Firebase project")
	f.StringVar(&req.Team, "team", "", "`TEAM` of that app, where two teams have its bundle id")
	f.BoolVar(&req.VoIP, "voip", false, "send a push as for a call: the phone rings")
	f.DurationVar(&wait, "wait", 0, "wait so long for the device to register, at most 1m")
	f.StringVar(&client.Server, "server", "http://127.0.0.1:8080", "`URL` of the server (http.bind)")
	f.StringVar(&client.TokenFile, "token-file", "", "`FILE` with the bearer token (http.token_file)")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
