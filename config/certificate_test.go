package config

import (
	"path/filepath"
	"slices"
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
		"expired":          {expired.pem(t), "", "file: c.p12 expired on " + expired.leaf.NotAfter.Format(time.DateOnly) + ", and the app has nothing else to send by"},
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

// TestAnExpiredCertificateStopsOnlyWhoHasNothingElse: a server starts, calls
// included, with whatever credential is left.
func TestAnExpiredCertificateStopsOnlyWhoHasNothingElse(t *testing.T) {
	folder := t.TempDir()
	for name, m := range map[string]material{
		"old-voip.pem": pushCertificate(t, "a.b.voip", -time.Hour), "voip.pem": pushCertificate(t, "a.b.voip", time.Hour),
		"old-alert.pem": pushCertificate(t, "a.b", -time.Hour), "alert.pem": pushCertificate(t, "a.b", time.Hour),
	} {
		writeFile(t, filepath.Join(folder, name), m.pem(t), 0o600)
	}
	writeFile(t, filepath.Join(folder, "key.p8"), testSigningKey(t), 0o600)
	const voip, alert = "push.apps[0].voip_certificate.file", "push.apps[0].alert_certificate.file"
	for name, c := range map[string]struct {
		keys string
		want []string // keys of the faults about an end
	}{
		"the ordinary one is left":  {"voip_certificate: { file: old-voip.pem }, alert_certificate: { file: alert.pem }", nil},
		"the VoIP one is left":      {"voip_certificate: { file: voip.pem }, alert_certificate: { file: old-alert.pem }", nil},
		"both are over":             {"voip_certificate: { file: old-voip.pem }, alert_certificate: { file: old-alert.pem }", []string{voip, alert}},
		"the only one is over":      {"alert_certificate: { file: old-alert.pem }", []string{alert}},
		"a key is left":             {"voip_certificate: { file: old-voip.pem }, keys: [{ file: key.p8, id: KEY1234567 }]", nil},
		"a key of that environment": {"environment: sandbox, voip_certificate: { file: old-voip.pem }, keys: [{ file: key.p8, id: KEY1234567, environment: sandbox }]", nil},
		"a key of another one":      {"environment: production, voip_certificate: { file: old-voip.pem }, keys: [{ file: key.p8, id: KEY1234567, environment: sandbox }]", []string{voip}},
		"the other cannot be read":  {"voip_certificate: { file: old-voip.pem }, alert_certificate: { file: none.pem }", []string{voip}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, f := range faultsOf(t, folder, "push: { apps: [{ bundle_id: a.b, team_id: ABCDE12345, "+c.keys+" }] }") {
				if key, problem, _ := strings.Cut(f, ": "); strings.Contains(problem, "expired on") {
					got = append(got, key)
				} else if c.want == nil {
					t.Errorf("another fault: %s", f)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
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
