package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// baresip is a phone that runs baresip, which answers every call.
type baresip struct {
	screen screen
	gone   chan struct{} // closed when the program ended
}

// baresipAccount is what the test fills into testdata/baresip.
type baresipAccount struct {
	Server     string // host:port;transport=...
	Domain     string
	RootCA     string // file
	Encryption string // srtp or srtp-mand
	Host       string // where it is
	Speech     string // WAV file that it says in each call

	Folder, Modules string // newBaresip's
}

// newBaresip starts a phone, which registers by itself and ends with the test.
func newBaresip(t *testing.T, account baresipAccount) *baresip {
	t.Helper()
	account.Folder = t.TempDir()
	account.Modules = "/usr/lib/baresip/modules"
	for _, name := range []string{"config", "accounts"} {
		f, err := os.Create(filepath.Join(account.Folder, name))
		if err != nil {
			t.Fatal(err)
		}
		tmpl := template.Must(template.ParseFiles("testdata/baresip/" + name))
		if err := errors.Join(tmpl.Execute(f, account), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(account.Folder, "contacts"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := &baresip{gone: make(chan struct{})}
	cmd := exec.CommandContext(t.Context(), "baresip", "-f", account.Folder, "-v", "-s") //nolint:gosec // ours
	cmd.Dir = account.Folder
	cmd.Stdout, cmd.Stderr = &b.screen, &b.screen
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // awaited by the function below
		defer close(b.gone)
		cmd.Wait()
	}()
	t.Cleanup(func() { // the test's context is over: the program was killed
		<-b.gone
		if t.Failed() {
			t.Logf("baresip printed:\n%s", &b.screen)
		}
	})
	return b
}

// printed waits until it printed text, and returns all that it did.
func (b *baresip) printed(t *testing.T, text string) string {
	t.Helper()
	wait(t, 20*time.Second, "baresip to print "+text, func() (bool, string) {
		return strings.Contains(b.screen.String(), text), "it did not"
	})
	return b.screen.String()
}
