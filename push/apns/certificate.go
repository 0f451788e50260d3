package apns

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"wakebridge/push"
)

// Certificate is a TLS client certificate with its private key: the credential
// that Apple gave out before there were keys. It prints as its file.
type Certificate struct {
	// Topics it may send to, as it says itself; none if it says nothing.
	Topics []string
	// Environment limits the certificate; Auto means both.
	Environment push.Environment

	origin origin
	pair   tls.Certificate
}

// String is the file, or the beginning of the fingerprint where there is none.
func (c Certificate) String() string {
	if c.IsZero() {
		return "no certificate"
	}
	if c.origin.file != "" {
		return "certificate " + c.origin.file
	}
	return "certificate " + c.id()[:8]
}

// GoString is the same (%#v).
func (c Certificate) GoString() string { return c.String() }

// IsZero says that there is none.
func (c Certificate) IsZero() bool { return c.pair.Leaf == nil }

// NotAfter is when it expires.
func (c Certificate) NotAfter() time.Time {
	if c.IsZero() {
		return time.Time{}
	}
	return c.pair.Leaf.NotAfter
}

// Covers says whether it may send to a topic, as far as it tells.
func (c Certificate) Covers(topic string) bool {
	return len(c.Topics) == 0 || slices.Contains(c.Topics, topic)
}

// serves says whether it may be used in env.
func (c Certificate) serves(env push.Environment) bool {
	return !c.IsZero() && (!c.Environment.Known() || c.Environment == env)
}

// id tells certificates in use apart: one that is renewed in its file stays.
func (c Certificate) id() string {
	if c.origin.file != "" {
		return c.origin.file
	}
	sum := sha256.Sum256(c.pair.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

// LoadCertificate reads a certificate and its key from a .p12 file, whose
// password passwordFile holds (empty: none), or from a .pem file. Both files
// must be readable by their owner only. Errors: ErrKeyExposed,
// ErrBadCertificate, those of reading.
func LoadCertificate(path, passwordFile string) (Certificate, error) {
	from := originOf(path, passwordFile)
	data, err := readPrivate(path)
	if err != nil {
		return Certificate{}, fmt.Errorf("APNs certificate: %w", err)
	}
	password := ""
	if passwordFile != "" {
		text, err := readPrivate(passwordFile)
		if err != nil {
			return Certificate{}, fmt.Errorf("APNs certificate's password: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	c, err := ParseCertificate(data, password)
	if err != nil {
		return Certificate{}, fmt.Errorf("%s: %w", path, err)
	}
	c.origin = from
	return c, nil
}

// ParseCertificate reads a certificate and its key from PKCS #12 bytes, old or
// new encryption (RFC 7292, RFC 8018 PBES2), or from PEM bytes. Errors wrap
// ErrBadCertificate.
func ParseCertificate(data []byte, password string) (Certificate, error) {
	var pair tls.Certificate
	var err error
	if block, _ := pem.Decode(data); block != nil {
		pair, err = pairFromPEM(data, password)
	} else {
		pair, err = pairFromP12(data, password)
	}
	if err != nil {
		return Certificate{}, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	return Certificate{Topics: topicsOf(pair.Leaf), Environment: environmentOf(pair.Leaf), pair: pair}, nil
}

func pairFromPEM(data []byte, password string) (tls.Certificate, error) {
	if bytes.Contains(data, []byte("ENCRYPTED")) {
		return tls.Certificate{}, errors.New("the key in the PEM file is encrypted: name the .p12 file, or decrypt the key by openssl pkey")
	}
	if password != "" {
		return tls.Certificate{}, errors.New("a PEM file takes no password")
	}
	return tls.X509KeyPair(data, data)
}

func pairFromP12(data []byte, password string) (tls.Certificate, error) {
	key, leaf, others, err := pkcs12.DecodeChain(data, password)
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return tls.Certificate{}, errWrongPassword
	}
	if err != nil {
		return tls.Certificate{}, errors.New("no .p12 or .pem file with a certificate and its key: " + strings.TrimPrefix(err.Error(), "pkcs12: "))
	}
	chain := append([]*x509.Certificate{leaf}, others...)
	signer, ok := key.(crypto.Signer)
	if !ok {
		return tls.Certificate{}, errNotItsKey
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	own := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return ok && public.Equal(c.PublicKey) })
	if own < 0 {
		return tls.Certificate{}, errNotItsKey
	}
	chain[0], chain[own] = chain[own], chain[0]
	pair := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	return pair, nil
}

// appleExtension is the arc of Apple's certificate extensions for push: 1 the
// sandbox, 2 production, 6 the list of topics.
const appleExtension = "1.2.840.113635.100.6.3."

// userID is the attribute of the subject that names the topic of a certificate
// for one.
const userID = "0.9.2342.19200300.100.1.1"

// environmentOf is the environment that a certificate is limited to.
func environmentOf(leaf *x509.Certificate) push.Environment {
	var sandbox, production bool
	for _, e := range leaf.Extensions {
		switch e.Id.String() {
		case appleExtension + "1":
			sandbox = true
		case appleExtension + "2":
			production = true
		}
	}
	switch {
	case sandbox && !production:
		return push.Sandbox
	case production && !sandbox:
		return push.Production
	}
	return push.Auto
}

// topicsOf are the topics that a certificate names: in Apple's extension, a
// sequence of names each followed by what it is, else the one in its subject.
func topicsOf(leaf *x509.Certificate) []string {
	for _, e := range leaf.Extensions {
		if e.Id.String() != appleExtension+"6" {
			continue
		}
		var list []asn1.RawValue
		if _, err := asn1.Unmarshal(e.Value, &list); err != nil {
			return nil
		}
		var topics []string
		for _, v := range list {
			if v.Class == asn1.ClassUniversal && v.Tag == asn1.TagUTF8String {
				topics = append(topics, string(v.Bytes))
			}
		}
		return topics
	}
	for _, name := range leaf.Subject.Names {
		if topic, ok := name.Value.(string); ok && name.Type.String() == userID {
			return []string{topic}
		}
	}
	return nil
}
