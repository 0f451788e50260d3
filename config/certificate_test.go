package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

func TestPushCertificates(t *testing.T) {
	const hour = time.Hour
	good := pushCertificate(t, "a.b.voip", hour)
	legacy, err := pkcs12.Legacy.Encode(good.key, good.leaf, nil, "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	expired := pushCertificate(t, "a.b.voip", -hour)
	foreign := material{good.leaf, expired.key}
	cases := map[string]struct{ file, password, want string }{
		"PBES2":            {testP12(t, good, "hunter2"), "hunter2\n", ""},
		"RC2 and DES":      {string(legacy), "hunter2", ""},
		"without password": {testP12(t, good, ""), "", ""},
		"PEM":              {good.pem(t), "", ""},
		"names no topic":   {pushCertificate(t, "", hour).pem(t), "", ""},
		"wrong password":   {testP12(t, good, "hunter2"), "hunter3", "password_file: holds a wrong password for c.p12"},
		"password missing": {testP12(t, good, "hunter2"), "", "password_file: is missing: c.p12 has a password"},
		"expired":          {expired.pem(t), "", "file: c.p12 expired on " + expired.leaf.NotAfter.Format(time.DateOnly)},
		"other topic":      {pushCertificate(t, "a.b", hour).pem(t), "", "file: c.p12 is for a.b, not for a.b.voip"},
		"PEM and password": {good.pem(t), "x", "password_file: is for .p12 files; c.p12 is PEM"},
		"PEM without key":  {pemText("CERTIFICATE", good.leaf.Raw), "", "file: c.p12 holds no certificate with its key: found a certificate rather than a key in the PEM for the private key"},
		"encrypted PEM":    {pemText("CERTIFICATE", good.leaf.Raw) + pemText("ENCRYPTED PRIVATE KEY", []byte("x")), "", "file: c.p12 has an encrypted key"},
		"key of another":   {testP12(t, foreign, ""), "", "file: the key in c.p12 is not that of the certificate"},
		"nonsense":         {"hunter2", "", "file: c.p12 is no .p12 or .pem file with a certificate and its key"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			writeFile(t, filepath.Join(folder, "c.p12"), c.file, 0o600)
			cert := "{ file: c.p12 }"
			if c.password != "" {
				writeFile(t, filepath.Join(folder, "p"), c.password, 0o600)
				cert = "{ file: c.p12, password_file: p }"
			}
			got := faultsOf(t, folder, "push: { apps: [{ bundle_id: a.b, team_id: ABCDE12345, voip_certificate: "+cert+" }] }")
			want := ""
			if c.want != "" {
				want = "push.apps[0].voip_certificate." + c.want
			}
			if strings.Join(got, "\n") != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if strings.Contains(strings.Join(got, ""), "hunter") {
				t.Errorf("a secret is shown: %q", got)
			}
		})
	}
}

func TestPushCertificateFilesAreTheOwners(t *testing.T) {
	folder := t.TempDir()
	writeFile(t, filepath.Join(folder, "open.p12"), testP12(t, pushCertificate(t, "a.b", time.Hour), "hunter2"), 0o644)
	writeFile(t, filepath.Join(folder, "c.p12"), testP12(t, pushCertificate(t, "a.b", time.Hour), "hunter2"), 0o600)
	writeFile(t, filepath.Join(folder, "p"), "hunter2", 0o640)
	got := strings.Join(faultsOf(t, folder, `push: { apps: [
  { bundle_id: a.b, team_id: ABCDE12345, alert_certificate: { file: open.p12 }, voip_certificate: { password_file: p } },
  { bundle_id: a.c, team_id: ABCDE12345, alert_certificate: { file: c.p12, password_file: p }, voip_certificate: { file: none.p12 } }] }`), "\n")
	for _, want := range []string{
		"push.apps[0].alert_certificate.file: open.p12 may be read by others than its owner (mode 0644)",
		"push.apps[0].voip_certificate.password_file: has no effect without a file",
		"push.apps[1].alert_certificate.password_file: p may be read by others than its owner (mode 0640)",
		"push.apps[1].voip_certificate.file: none.p12 does not exist",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
