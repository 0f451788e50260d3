package apnssim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// Certificate is a provider's client certificate as Apple knows it.
type Certificate struct {
	TeamID string // ten characters A-Z, 0-9
	// Topics it may send to, at least one. A request without apns-topic goes to
	// the topic of a certificate that has only one.
	Topics []string
	// Environment it is restricted to; empty: both.
	Environment Environment
}

// IssuedCertificate is a test certificate with its private key.
type IssuedCertificate struct {
	Leaf *x509.Certificate
	// TLS is what a client in this process presents.
	TLS tls.Certificate
	// PEM holds the certificate and the PKCS #8 key, one after the other.
	PEM []byte
}

// P12 returns certificate and key as the .p12 file that Keychain exports: the
// old encryption, which all readers of such files understand. The password may
// be empty.
func (c *IssuedCertificate) P12(password string) ([]byte, error) {
	p12, err := pkcs12.LegacyDES.Encode(c.TLS.PrivateKey, c.Leaf, nil, password)
	if err != nil {
		return nil, fmt.Errorf("encode p12: %w", err)
	}
	return p12, nil
}

// appleExtension is the identifier of an extension of Apple's push certificates:
// 1 good for the sandbox, 2 good for production, 6 the topics with their uses.
func appleExtension(n int) asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 6, 3, n}
}

// bundleAttribute is the attribute of the subject that holds the bundle: UID.
func bundleAttribute(bundle string) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: bundle}
}

// IssueCertificate makes a certificate for an app of a team, registers it and
// hands it out: kind VoIP is the VoIP Services certificate and sends to
// <bundle>.voip, kind Alert the ordinary one and sends to <bundle>. It is good
// for a year, in one environment or, if that is empty, in both as Apple's are
// today. Errors: ErrBadIdentifier.
func (s *Sim) IssueCertificate(teamID, bundle string, kind Kind, env Environment) (*IssuedCertificate, error) {
	name, topic := "Apple Push Services: ", bundle
	switch kind {
	case VoIP:
		name, topic = "VoIP Services: ", bundle+".voip"
	case Alert:
	default:
		return nil, fmt.Errorf("%w: kind %q", ErrBadIdentifier, kind)
	}
	if !tenCharacters(teamID) || !bundleID(bundle) || env != "" && !env.valid() {
		return nil, fmt.Errorf("%w: team %q, bundle %q, environment %q", ErrBadIdentifier, teamID, bundle, env)
	}
	extensions, err := appleExtensions(topic, kind, env)
	if err != nil {
		return nil, err
	}
	issued, err := s.authority.issue(&x509.Certificate{
		Subject: pkix.Name{
			CommonName:         name + bundle,
			OrganizationalUnit: []string{teamID},
			ExtraNames:         []pkix.AttributeTypeAndValue{bundleAttribute(bundle)},
		},
		ExtraExtensions: extensions,
	})
	if err != nil {
		return nil, err
	}
	return issued, s.PutCertificate(issued.Leaf, Certificate{TeamID: teamID, Topics: []string{topic}, Environment: env})
}

// appleExtensions say what a certificate is good for.
func appleExtensions(topic string, kind Kind, env Environment) ([]pkix.Extension, error) {
	topics, err := topicsExtension(topic, kind)
	if err != nil {
		return nil, err
	}
	list := []pkix.Extension{{Id: appleExtension(6), Value: topics}}
	if env != Production {
		list = append(list, pkix.Extension{Id: appleExtension(1), Value: asn1.NullBytes})
	}
	if env != Sandbox {
		list = append(list, pkix.Extension{Id: appleExtension(2), Value: asn1.NullBytes})
	}
	return list, nil
}

// topicsExtension encodes one pair of topic and kinds:
// SEQUENCE { UTF8String, SEQUENCE { UTF8String } }.
func topicsExtension(topic string, kind Kind) ([]byte, error) {
	use := "app"
	if kind == VoIP {
		use = "voip"
	}
	der, err := asn1.Marshal(struct {
		Topic string `asn1:"utf8"`
		Uses  struct {
			Use string `asn1:"utf8"`
		}
	}{Topic: topic, Uses: struct {
		Use string `asn1:"utf8"`
	}{use}})
	if err != nil {
		return nil, fmt.Errorf("encode topics: %w", err)
	}
	return der, nil
}

// issue signs a client certificate; the template has subject and extensions.
func (a *authority) issue(template *x509.Certificate) (*IssuedCertificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make certificate key: %w", err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	now := time.Now() // see newAuthority
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(certLife)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca, &key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode certificate key: %w", err)
	}
	return &IssuedCertificate{
		Leaf: leaf,
		TLS:  tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		PEM: slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}, nil
}

// PutCertificate registers a client certificate of any issuer, or replaces what
// is known of it; the team too if it is new. Errors: ErrBadIdentifier.
func (s *Sim) PutCertificate(leaf *x509.Certificate, c Certificate) error {
	if !tenCharacters(c.TeamID) {
		return fmt.Errorf("%w: team %q", ErrBadIdentifier, c.TeamID)
	}
	if leaf == nil || len(c.Topics) == 0 || c.Environment != "" && !c.Environment.valid() {
		return fmt.Errorf("%w: a certificate needs topics, and environment %q must exist", ErrBadIdentifier, c.Environment)
	}
	c.Topics = slices.Clone(c.Topics)
	r := s.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	r.teams[c.TeamID] = struct{}{}
	r.certificates[sha256.Sum256(leaf.Raw)] = c
	return nil
}

// RemoveCertificate revokes a client certificate, on open connections too;
// unknown ones are ignored.
func (s *Sim) RemoveCertificate(leaf *x509.Certificate) {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	delete(s.registry.certificates, sha256.Sum256(leaf.Raw))
}

func (r *registry) certificate(leaf *x509.Certificate) (Certificate, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.certificates[sha256.Sum256(leaf.Raw)]
	return c, ok
}

// checkCertificate authenticates a provider by the certificate of its
// connection. That such a connection must bring no provider token is a choice:
// Apple's documentation has the header for token authentication only.
func checkCertificate(j *judge, p *push) *Verdict {
	if len(p.req.values("authorization")) > 0 {
		return refuse(403, "InvalidProviderToken")
	}
	c, ok := j.registry.certificate(j.certificate)
	if !ok || p.now.Before(j.certificate.NotBefore) || p.now.After(j.certificate.NotAfter) {
		return refuse(403, "BadCertificate")
	}
	if c.Environment != "" && c.Environment != p.req.env {
		return refuse(403, "BadCertificateEnvironment")
	}
	p.provider = &ProviderToken{TeamID: c.TeamID, Certificate: j.certificate.Subject.CommonName}
	p.credential = credential{team: c.TeamID, topics: c.Topics, exact: true}
	return nil
}

// credential is what an authenticated provider may do.
type credential struct {
	team   string
	topics []string // empty: all apps of the team
	// exact topics do not cover <bundle>.voip by <bundle>, nor the reverse.
	exact bool
}

// allows says whether the topic, which belongs to bundle of team, is covered.
func (c credential) allows(topic, bundle, team string) bool {
	return team == c.team &&
		(len(c.topics) == 0 || slices.Contains(c.topics, topic) || !c.exact && slices.Contains(c.topics, bundle))
}

// topic is what a request without apns-topic goes to: the topic of a
// certificate that has only one, else nothing.
func (c credential) topic() string {
	if c.exact && len(c.topics) == 1 {
		return c.topics[0]
	}
	return ""
}
