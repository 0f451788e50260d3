package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// warningsOf loads a file of that text in folder, which must be in order, and
// returns "line key: problem" of each warning.
func warningsOf(t *testing.T, folder, text string) []string {
	t.Helper()
	path := filepath.Join(folder, "wakebridge.yaml")
	writeFile(t, path, text, 0o600)
	cfg, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range cfg.Warnings {
		if f.Line == 0 || f.File != path || f.Cure == "" {
			t.Errorf("a warning without place or cure: %+v", f)
		}
		got = append(got, f.Key+": "+strings.ReplaceAll(f.Problem, folder+"/", ""))
	}
	return got
}

func TestWarnings(t *testing.T) {
	folder := t.TempDir()
	day := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(time.DateOnly) }
	const hour, month = time.Hour, 31 * 24 * time.Hour
	for name, m := range map[string]material{
		"old-voip.pem": pushCertificate(t, "a.b.voip", -hour), "voip.pem": pushCertificate(t, "a.b.voip", month),
		"alert.pem": pushCertificate(t, "a.b", month), "late-alert.pem": pushCertificate(t, "a.b", 49*hour),
	} {
		writeFile(t, filepath.Join(folder, name), m.pem(t), 0o600)
	}
	chain, key := testCertificate(t)
	writeFile(t, filepath.Join(folder, "chain.pem"), chain, 0o644)
	writeFile(t, filepath.Join(folder, "key.pem"), key, 0o600)
	writeFile(t, filepath.Join(folder, "open-key.pem"), key, 0o604)
	writeFile(t, filepath.Join(folder, "AuthKey.p8"), testSigningKey(t), 0o600)
	writeFile(t, filepath.Join(folder, "password"), "hunter22", 0o640)
	writeFile(t, filepath.Join(folder, "open-password"), "hunter22", 0o644)
	app := func(with string) string {
		return "push: { apps: [{ bundle_id: a.b, team_id: ABCDE12345, " + with + " }] }"
	}
	listen := func(key string) string {
		return `listen: [{ transport: tls, bind: "0.0.0.0:5061", cert_file: chain.pem, key_file: ` + key + " }]"
	}
	user := func(password string) string {
		return "domains: [{ name: a.b, users: [{ name: alice, password_file: " + password + " }] }]\n" + app("keys: [{ file: AuthKey.p8, id: KEY1234567 }]")
	}
	const soonEnds = "listen[0].cert_file: chain.pem expires on "
	cases := map[string]struct {
		text string
		want []string
	}{
		"none":                             {app("voip_certificate: { file: voip.pem }, alert_certificate: { file: alert.pem }"), nil},
		"expired, and a key is left":       {app("voip_certificate: { file: old-voip.pem }, keys: [{ file: AuthKey.p8, id: KEY1234567 }]"), []string{"push.apps[0].voip_certificate.file: old-voip.pem expired on " + day(-hour)}},
		"expired, and the other is ending": {app("voip_certificate: { file: old-voip.pem }, alert_certificate: { file: late-alert.pem }"), []string{"push.apps[0].alert_certificate.file: late-alert.pem expires on " + day(49*hour) + ", in 2 days", "push.apps[0].voip_certificate.file: old-voip.pem expired on " + day(-hour)}},
		"listener":                         {listen("key.pem"), []string{soonEnds + day(hour) + ", in 0 days"}},
		"listener's key":                   {listen("open-key.pem"), []string{soonEnds + day(hour) + ", in 0 days", "listen[0].key_file: open-key.pem may be read by everybody on this machine (mode 0604)"}},
		"password":                         {user("open-password"), []string{"domains[0].users[0].password_file: open-password may be read by everybody on this machine (mode 0644)"}},
		"password of a group":              {user("password"), nil},
		"nobody is woken":                  {"domains: [{ name: a.b, users: [{ name: alice, password: x }] }]", []string{"domains: push.apps is empty: no sleeping phone is woken"}},
		"no users":                         {"node: { id: x }", nil},
		"a number that is a name elsewhere": {"domains: [{ name: a.b, users: [{ name: alice, password: x, numbers: [\"201\"] }] }, { name: c.d, users: [{ name: \"201\", password: x }] }]\n" + app("keys: [{ file: AuthKey.p8, id: KEY1234567 }]"),
			[]string{`domains[0].users[0].numbers[0]: "201" is also the name of a user of c.d, who is reached only as 201@c.d`}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := warningsOf(t, folder, c.text)
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if strings.Contains(strings.Join(got, ""), "hunter") {
				t.Errorf("a secret is shown: %q", got)
			}
		})
	}
}

func TestExplainWarnings(t *testing.T) {
	var out strings.Builder
	err := ExplainWarnings(&out, []Fault{{File: "a", Line: 2, Column: 3, Key: "k", Problem: "p", Cure: "c"}, {File: "b", Problem: "q"}})
	if want := "warning: a:2:3: k: p\n    cure: c\nwarning: b: q\n"; err != nil || out.String() != want {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := ExplainWarnings(closedFile(t), []Fault{{}}); err == nil {
		t.Error("nobody hears that nothing was written")
	}
}

func closedFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "closed"))
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}
