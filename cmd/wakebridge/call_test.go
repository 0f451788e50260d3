package main

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wakebridge/cmd/internal/daemon"
)

// captureServer is a running server that has a capture; it is the URL.
func captureServer(t *testing.T, id string, content []byte) string {
	t.Helper()
	dev, err := daemon.NewDevelopment()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dev.Close)
	free := netip.MustParseAddrPort("127.0.0.1:0")
	for i := range dev.Config.Listen {
		dev.Config.Listen[i].Bind = free
	}
	dev.Config.HTTP.Bind = free
	dev.Config.Media.RTPStart, dev.Config.Media.RTPEnd = 0, 0
	folder := filepath.Join(dev.Config.Node.DataDir, "captures")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, id+".pcapng"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := daemon.New(t.Context(), dev.Config, daemon.Options{Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Stop(t.Context()) })
	return "http://" + d.HTTPAddr().String()
}

func TestCallPcap(t *testing.T) {
	const id = "6f1e9c9e-2c5d-4e0f-9a57-8d2f3b1c4a10"
	content := bytes.Repeat([]byte{0x0a, 0, 0xff, '\n'}, 50000)
	server := captureServer(t, id, content)
	t.Chdir(t.TempDir())
	pcap := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		code = run(t.Context(), append([]string{"call", "pcap", "--server", server}, args...), &out, &errs)
		return code, out.String(), errs.String()
	}
	if code, out, errs := pcap(id, "-o", "-"); code != exitOK || out != string(content) || errs != "" {
		t.Errorf("to standard output: %d, %d bytes, %s", code, len(out), errs)
	}
	if code, out, errs := pcap(id); code != exitOK || out != id+".pcapng\n" || errs != "" {
		t.Errorf("without -o: %d %s %s", code, out, errs)
	}
	if code, out, errs := pcap(id, "-o", "a.pcapng"); code != exitOK || out != "" || errs != "" {
		t.Errorf("to a file: %d %s %s", code, out, errs)
	}
	for _, name := range []string{id + ".pcapng", "a.pcapng"} {
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if code, _, errs := pcap("6f1e9c9e-2c5d-4e0f-9a57-8d2f3b1c4a11", "-o", "b.pcapng"); code != exitFailed || !strings.Contains(errs, "No such call") || !strings.Contains(errs, "call=") {
		t.Errorf("an unknown call: %d %s", code, errs)
	}
	for _, args := range [][]string{{}, {"a", "b"}} {
		if code, _, errs := pcap(args...); code != exitUsage || !strings.Contains(errs, "call ID") {
			t.Errorf("%q: %d %s", args, code, errs)
		}
	}
	if left, err := filepath.Glob(".*"); err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if left, err := filepath.Glob("*"); err != nil || len(left) != 2 {
		t.Errorf("files: %v %v", left, err)
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"call"}, &errs, &errs); code != exitUsage {
		t.Errorf("%d %s", code, errs.String())
	}
}
