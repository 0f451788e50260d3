package config

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// faultsOf loads a file of that text in folder and returns "key: problem" of
// each fault.
func faultsOf(t *testing.T, folder, text string) []string {
	t.Helper()
	path := filepath.Join(folder, "wakebridge.yaml")
	writeFile(t, path, text, 0o600)
	_, err := Load(path, nil)
	var report *Report
	if err != nil && !errors.As(err, &report) {
		t.Fatal(err)
	}
	var got []string
	if report != nil {
		for _, f := range report.Faults {
			got = append(got, f.Key+": "+strings.ReplaceAll(f.Problem, folder+"/", ""))
		}
	}
	return got
}

func TestSigningKeys(t *testing.T) {
	folder := t.TempDir()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := testSigningKey(t)
	cases := map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"good":              {good, 0o600, ""},
		"read-only":         {good, 0o400, ""},
		"read by the group": {good, 0o640, "k.p8 may be read by others than its owner (mode 0640)"},
		"read by others":    {good, 0o604, "k.p8 may be read by others than its owner (mode 0604)"},
		"no PEM":            {"hello", 0o600, "k.p8 is not a PEM file"},
		"empty":             {"", 0o600, "k.p8 is not a PEM file"},
		"PEM of nonsense":   {pemText("PRIVATE KEY", []byte("hunter2")), 0o600, "k.p8 holds no PKCS #8 private key"},
		"RSA":               {pkcs8(t, rsaKey), 0o600, "k.p8 is not a key for APNs (ECDSA on P-256)"},
		"P-384":             {pkcs8(t, newKey(t, elliptic.P384())), 0o600, "k.p8 is not a key for APNs (ECDSA on P-256)"},
		"too large":         {strings.Repeat("x", maxSecretFile+1), 0o600, "k.p8 is larger than 1 MiB"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			writeFile(t, filepath.Join(folder, "k.p8"), c.text, c.mode)
			got := faultsOf(t, folder, `push: { apps: [{ bundle_id: a.b, team_id: ABCDE12345, keys: [{ file: k.p8, id: KEY1234567 }] }] }`)
			want := ""
			if c.want != "" {
				want = "push.apps[0].keys[0].file: " + c.want
			}
			if strings.Join(got, "\n") != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if err := os.Chmod(filepath.Join(folder, "k.p8"), 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestServiceAccounts(t *testing.T) {
	folder := t.TempDir()
	good := testServiceAccount(t)
	var key struct {
		PrivateKey string `json:"private_key"`
	}
	if err := json.Unmarshal([]byte(good), &key); err != nil {
		t.Fatal(err)
	}
	with := func(name, value string) string {
		return accountText(t, map[string]string{"private_key": key.PrivateKey, name: value})
	}
	cases := map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"good":              {good, 0o600, ""},
		"read by the group": {good, 0o640, "a.json may be read by others than its owner (mode 0640)"},
		"no JSON":           {"hunter2", 0o600, "a.json is not a JSON file"},
		"a person's login":  {with("type", "authorized_user"), 0o600, "a.json is not the key of a service account"},
		"no address":        {with("client_email", ""), 0o600, "a.json has no client_email"},
		"no PEM":            {with("private_key", "hunter2"), 0o600, "a.json holds no RSA private_key"},
		"not RSA":           {with("private_key", testSigningKey(t)), 0o600, "a.json holds no RSA private_key"},
		"plain http":        {with("token_uri", "http://oauth2.googleapis.com/token"), 0o600, "a.json has no token_uri that is an https URL"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(folder, "a.json")
			writeFile(t, file, c.text, c.mode)
			got := faultsOf(t, folder, `push: { apps: [{ provider: fcm, project_id: example, service_account_file: a.json }] }`)
			want := ""
			if c.want != "" {
				want = "push.apps[0].service_account_file: " + c.want
			}
			if strings.Join(got, "\n") != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if err := os.Chmod(file, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	folder := t.TempDir()
	chain, key := testCertificate(t)
	_, otherKey := testCertificate(t)
	cases := map[string]struct{ chain, key, want string }{
		"good":             {chain, key, ""},
		"key of another":   {chain, otherKey, "listen[0].key_file: is no private key of the certificate: private key does not match public key"},
		"swapped":          {key, chain, "listen[0].cert_file: c.pem does not begin with a PEM certificate"},
		"key is no key":    {chain, "x", "listen[0].key_file: is no private key of the certificate: failed to find any PEM data in key input"},
		"chain is no text": {"\x00\x01", key, "listen[0].cert_file: c.pem does not begin with a PEM certificate"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			writeFile(t, filepath.Join(folder, "c.pem"), c.chain, 0o644)
			writeFile(t, filepath.Join(folder, "k.pem"), c.key, 0o600)
			got := faultsOf(t, folder, `listen: [{ transport: tls, bind: "0.0.0.0:5061", cert_file: c.pem, key_file: k.pem }]`)
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestTokenOpensHTTP(t *testing.T) {
	folder := t.TempDir()
	cases := map[string]struct{ text, want string }{
		"good":         {"0123456789abcdef\n", ""},
		"Windows":      {"0123456789abcdef\r\n", ""},
		"short":        {"0123456789abcde\n", "http.token_file: holds a token of 15 characters"},
		"empty":        {"\n", "http.token_file: token is empty"},
		"several":      {"0123456789abcdef\n0123456789abcdef\n", "http.token_file: token holds more than one line, or control characters"},
		"binary noise": {"0123456789abcdef\x00", "http.token_file: token holds more than one line, or control characters"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			writeFile(t, filepath.Join(folder, "token"), c.text, 0o600)
			got := faultsOf(t, folder, `http: { bind: "0.0.0.0:8080", token_file: token }`)
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.want != "" {
				return
			}
			cfg := mustLoad(t, filepath.Join(folder, "wakebridge.yaml"))
			if cfg.HTTP.Token.Reveal() != "0123456789abcdef" {
				t.Errorf("the token is %q", cfg.HTTP.Token.Reveal())
			}
		})
	}
}

func TestConfigurationThatCannotBeRead(t *testing.T) {
	folder := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(folder, "none.yaml"): "does not exist",
		folder:                             "cannot be read: is a directory",
		folder + "/none/\x00":              "cannot be read: invalid argument",
	} {
		_, err := Load(path, []string{"WAKEBRIDGE_NODE_ID=a"})
		var report *Report
		if !errors.As(err, &report) || len(report.Faults) != 1 || report.Faults[0].Problem != want || report.Faults[0].File != path {
			t.Errorf("%q: got %v, want %q", path, err, want)
		}
	}
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "wakebridge.yaml")
	writeFile(t, path, "node: { data_dir: state }", 0o600)
	if got := mustLoad(t, path).Node.DataDir; got != filepath.Join(folder, "state") {
		t.Errorf("data_dir is %s", got)
	}
	writeFile(t, path, "node: { data_dir: /var/lib/wakebridge }", 0o600)
	if got := mustLoad(t, path).Node.DataDir; got != "/var/lib/wakebridge" {
		t.Errorf("data_dir is %s", got)
	}
}

// Whatever is wrong with a secret, no report tells it.
func TestReportsTellNoSecrets(t *testing.T) {
	const secret = "hunter2"
	for _, user := range []string{
		`{ name: a, password: *hunter2 }`,
		`{ name: a, password: &hunter2 }`,
		`{ name: a, password: &hunter2 b }`,
		`{ name: a, password: !hunter2 b }`,
		`{ name: a, password: !!hunter2 b }`,
		`{ name: a, password: [hunter2] }`,
		`{ name: a, password: { x: hunter2 } }`,
		`{ name: a, password: "hunter2\t" }`,
		`{ name: a, password: hunter2, password: hunter2 }`,
		`{ name: a, pasword: hunter2 }`,
		`{ name: a, ha1_md5: hunter2 }`,
		`{ name: a, password: hunter2, ha1_md5: hunter2 }`,
		`{ name: a, password: hunter2, password_file: none }`,
		`{ name: a, password: "hunter2 }`,
		`{ name: a, password: 'hunter2' hunter2 }`,
		`{ name: a, password: @hunter2 }`,
		"{ name: a, password: `hunter2 }",
		`{ name: a, password: "\hunter2" }`,
		`{ name: a, password: !<hunter2> b }`,
		`{ name: a, password: hunter2!: }}`,
	} {
		path := filepath.Join(t.TempDir(), "wakebridge.yaml")
		writeFile(t, path, "domains:\n  - name: a.example\n    users:\n      - "+user+"\n", 0o600)
		_, err := Load(path, nil)
		if err == nil {
			t.Errorf("%s was accepted", user)
			continue
		}
		if text := fmt.Sprintf("%s %v %+v %#v", explain(t, err), err, err, err); strings.Contains(text, secret) {
			t.Errorf("%s: %s", user, text)
		}
	}
	// Numbers are refused too, as is a digit string that YAML reads as one.
	path := filepath.Join(t.TempDir(), "wakebridge.yaml")
	writeFile(t, path, "domains: [{ name: a.example, users: [{ name: a, password: 12345678 }] }]", 0o600)
	_, err := Load(path, nil)
	if err == nil || strings.Contains(explain(t, err), "12345678") {
		t.Errorf("got %v", err)
	}
}
