package e2e

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

var inlineKey = regexp.MustCompile(`inline:([A-Za-z0-9+/=]+)`)

// M6: with SRTP required a call of plain RTP is refused in words that the operator
// reads; keys are in no log, file or page; and after a crash the program, which begins
// to count anew, has others (RFC 3711 s9.1).
func TestM6KeysAreSecretAndFresh(t *testing.T) {
	t.Parallel()
	exe := builtProgram(t)
	set := newSetup(t)
	text, err := os.ReadFile(set.file)
	must(t, err)
	secure := strings.Replace(string(text), "media: {", "media: { srtp: { apps: required, keys_over: any },", 1)
	must(t, os.WriteFile(set.file, []byte(secure), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	keys := make(map[string]bool)
	for round := range 2 {
		p := set.serve(t, exe)
		acc := softphone.Account{Transport: sipua.TCP, Server: softphone.At(p.addr("tcp")), Expires: time.Hour}
		refusePlain(ctx, t, acc)
		p.says(t, "media.srtp requires SRTP")
		k := mobileKind{host: phoneHost}
		k.audio.Source, k.audio.Security = softphone.Tone(620), softphone.SRTPOnly
		m := newMobile(t, k)
		_, _, err := m.RegisterAndWait(ctx, acc)
		must(t, err)
		caller, _ := pbx(t, 440)
		out := dialAt(t, p.addr("udp"), caller, "201")
		in, err := m.Accept(ctx)
		must(t, err)
		must(t, in.Answer())
		hears(t, "the PBX", out, 620)
		offered := inlineKey.FindAllStringSubmatch(string(in.Invite().Body()), -1)
		if len(offered) != len(softphone.Suites()) {
			t.Fatalf("%d keys were offered", len(offered))
		}
		for _, o := range offered {
			if keys[o[1]] {
				t.Errorf("round %d: a key came again", round)
			}
			keys[o[1]] = true
		}
		for _, page := range []string{"/metrics", "/readyz", "/openapi.json"} {
			_, body := p.get(t, page)
			isWithoutKeys(t, page, body, keys)
		}
		if round == 0 {
			p.kill(t) // in the middle of the call
		} else {
			must(t, out.Hangup())
			_, err = in.Ended(ctx)
			must(t, err)
			p.signal(t, syscall.SIGTERM)
			p.ends(t, 0)
		}
		isWithoutKeys(t, "the log", p.log(), keys)
		must(t, filepath.WalkDir(filepath.Dir(set.file), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(name)
			isWithoutKeys(t, name, string(b), keys)
			return err
		}))
	}
}

// refusePlain calls from a phone that speaks plain RTP only.
func refusePlain(ctx context.Context, t *testing.T, acc softphone.Account) {
	t.Helper()
	k := mobileKind{host: otherHost}
	k.audio.Security = softphone.SRTPNever
	m := newMobile(t, k)
	reg, bound, err := m.RegisterAndWait(ctx, acc)
	must(t, err)
	c, err := m.Call(softphone.Outgoing{Target: sip.Uri{Scheme: "sip", User: "201", Host: serverHost}, Flow: bound.Flow})
	must(t, err)
	e, err := c.Ended(ctx)
	must(t, err)
	if e.Status != 488 || e.Phrase != "SRTP Required" {
		t.Errorf("the caller got %d %s", e.Status, e.Phrase)
	}
	must(t, reg.Unregister(ctx))
	m.Close()
}

// isWithoutKeys checks that a text shows none of the keys.
func isWithoutKeys(t *testing.T, what, text string, keys map[string]bool) {
	t.Helper()
	if strings.Contains(text, "inline:") {
		t.Errorf("%s shows an a=crypto line", what)
	}
	for k := range keys {
		if strings.Contains(text, k) {
			t.Errorf("%s shows a key", what)
		}
	}
}
