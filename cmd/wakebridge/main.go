// Command wakebridge lets an iPhone that is asleep answer a call that arrives at
// a PBX. See README.md, or `wakebridge help`.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"wakebridge/cmd/internal/daemon"
)

// version is set by the linker (Makefile).
var version = "dev"

// Exit codes, the same for every verb.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 3
)

// errFailed ends a verb with exit code 1 after it has said everything itself.
var errFailed = errors.New("failed")

// errUsage marks a mistake on the command line.
var errUsage = errors.New("usage")

// errBadFile marks a file that a verb was given and cannot use.
var errBadFile = errors.New("bad file")

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run runs one command line and says how the process ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "wakebridge",
		Short: "Wakes iPhones for calls from a PBX",
		Long: `Wakebridge holds a call that a PBX sends to a sleeping iPhone, wakes the app with a
PushKit VoIP push, gives it the call the moment it registers, and bridges the two.

Try it: wakebridge demo`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(serveCommand(), checkCommand(), demoCommand(), callCommand(), pushCommand(), simCommand(), versionCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return exitCode(root.ExecuteContext(ctx), stderr)
}

// exitCode explains err on standard error, where the verb has not done so itself.
func exitCode(err error, stderr io.Writer) int {
	var report *daemon.Report
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFailed):
		return exitFailed
	case errors.As(err, &report):
		if err := report.Explain(stderr); err != nil {
			fmt.Fprintln(stderr, err)
		}
		return exitConfig
	}
	fmt.Fprintln(stderr, "wakebridge:", err)
	if errors.Is(err, errBadFile) {
		return exitConfig
	}
	if errors.Is(err, errUsage) || isUsage(err) {
		fmt.Fprintln(stderr, "Run 'wakebridge help' for the commands.")
		return exitUsage
	}
	return exitFailed
}
