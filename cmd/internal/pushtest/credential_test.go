package pushtest

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/location"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// simulator is an APNs that knows one team.
func simulator(t *testing.T) *apnssim.Sim {
	t.Helper()
	var c apnssim.Config
	for _, ln := range []*net.Listener{&c.Production, &c.Sandbox} {
		var err error
		if *ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	sim, err := apnssim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.AddTeam("TEAM123456", "com.example.phone"); err != nil {
		t.Fatal(err)
	}
	return sim
}

// The stages name the environment and the key that push/apns uses.
func TestFirstEnvironment(t *testing.T) {
	sim := simulator(t)
	cert := func(env apnssim.Environment) apns.Certificate {
		issued, err := sim.IssueCertificate("TEAM123456", "com.example.phone", apnssim.VoIP, env)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "voip.pem")
		if err := os.WriteFile(file, issued.PEM, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := apns.LoadCertificate(file, "")
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	keys := func(environments ...string) (out []config.Key) {
		for _, e := range environments {
			out = append(out, config.Key{ID: e, Environment: e})
		}
		return out
	}
	tests := []struct {
		name string
		keys []config.Key
		cert apns.Certificate
		env  push.Environment
		key  string
	}{
		{"own before both", keys("auto", "production"), apns.Certificate{}, push.Production, "production"},
		{"sandbox only", keys("sandbox"), apns.Certificate{}, push.Sandbox, "sandbox"},
		{"certificate of production", keys("sandbox"), cert(apnssim.Production), push.Production, ""},
		{"certificate of the sandbox", nil, cert(apnssim.Sandbox), push.Sandbox, ""},
		{"certificate of both", nil, cert(""), push.Production, ""},
		{"nothing", nil, apns.Certificate{}, push.Production, ""},
	}
	for _, tt := range tests {
		p := &probe{kind: location.VoIP, app: config.App{Environment: "auto", Keys: tt.keys}, cert: tt.cert}
		env := p.firstEnvironment()
		if k, _ := p.key(env); env != tt.env || k.ID != tt.key {
			t.Errorf("%s: %s, key %q; want %s, %q", tt.name, env, k.ID, tt.env, tt.key)
		}
	}
}
