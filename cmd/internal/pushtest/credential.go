package pushtest

import (
	"fmt"
	"slices"
	"time"

	"wakebridge/config"
	"wakebridge/push"
	"wakebridge/push/apns"
	"wakebridge/sipua/location"
)

// The credential of a push is chosen here as push/apns does it: a key that serves
// the environment, else the certificate of that kind of push.

// key is the one for an environment: one made for it before one for both.
func (p *probe) key(env push.Environment) (config.Key, bool) {
	i := slices.IndexFunc(p.app.Keys, func(k config.Key) bool { return k.Environment == string(env) })
	if i < 0 {
		i = slices.IndexFunc(p.app.Keys, func(k config.Key) bool { return !push.Environment(k.Environment).Known() })
	}
	if i < 0 {
		return config.Key{}, false
	}
	return p.app.Keys[i], true
}

// serves says whether there is a credential for an environment.
func (p *probe) serves(env push.Environment) bool {
	_, ok := p.key(env)
	return ok || p.certServes(env)
}

func (p *probe) certServes(env push.Environment) bool {
	return !p.cert.IsZero() && !expired(p.cert) && (!p.cert.Environment.Known() || p.cert.Environment == env)
}

// certificateName is the key of the configuration for this kind of push.
func (p *probe) certificateName() string {
	if p.kind == location.VoIP {
		return "voip_certificate"
	}
	return "alert_certificate"
}

// loadCertificate reads the app's certificate for this kind of push now, if there
// is one.
func (p *probe) loadCertificate() step {
	c := p.app.AlertCertificate
	if p.kind == location.VoIP {
		c = p.app.VoIPCertificate
	}
	if c.File == "" {
		return step{}
	}
	cert, err := apns.LoadCertificate(c.File, c.PasswordFile)
	if err != nil {
		return step{text: err.Error(), cure: p.certificateName() + " must be a .p12 or .pem file with certificate and key, owned by the server's user, mode 0600"}
	}
	p.cert = cert
	return step{}
}

func expired(c apns.Certificate) bool { return !c.IsZero() && !time.Now().Before(c.NotAfter()) }

// goodUntil names a certificate and its last day.
func goodUntil(c apns.Certificate) string {
	return fmt.Sprintf("%s, good until %s", c, c.NotAfter().UTC().Format(time.DateOnly))
}
