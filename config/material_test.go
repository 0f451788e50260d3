package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// testCertificate is a self-signed certificate and its key, in PEM.
func testCertificate(t *testing.T) (chain, key string) {
	t.Helper()
	private := newKey(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	return pemText("CERTIFICATE", der), pkcs8(t, private)
}

// testSigningKey is an APNs key as Apple gives it.
func testSigningKey(t *testing.T) string {
	t.Helper()
	return pkcs8(t, newKey(t, elliptic.P256()))
}

// testServiceAccount is the key of a service account as Google gives it.
func testServiceAccount(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return accountText(t, map[string]string{"private_key": pkcs8(t, key)})
}

// accountText is such a file with some values replaced.
func accountText(t *testing.T, values map[string]string) string {
	t.Helper()
	account := map[string]string{"type": "service_account", "client_email": "sender@example.iam.gserviceaccount.com",
		"token_uri": "https://oauth2.googleapis.com/token"}
	maps.Copy(account, values)
	text, err := json.Marshal(account)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pkcs8(t *testing.T, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemText("PRIVATE KEY", der)
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// material is a certificate with its key.
type material struct {
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
}

// pem is both in PEM.
func (m material) pem(t *testing.T) string {
	t.Helper()
	return pemText("CERTIFICATE", m.leaf.Raw) + pkcs8(t, m.key)
}

// pushCertificate is one as Apple makes it, for a topic ("": it names none),
// good for so long.
func pushCertificate(t *testing.T, topic string, good time.Duration) material {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "push"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(good),
	}
	if topic != "" {
		list, err := asn1.Marshal([]asn1.RawValue{
			{Tag: asn1.TagUTF8String, Bytes: []byte(topic)},
			{Tag: asn1.TagSequence, IsCompound: true, Bytes: []byte{asn1.TagUTF8String, 3, 'a', 'p', 'p'}},
		})
		if err != nil {
			t.Fatal(err)
		}
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 840, 113635, 100, 6, 3, 6}, Value: list}}
	}
	key := newKey(t, elliptic.P256())
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return material{leaf, key}
}

// testP12 is a .p12 file as today's tools write it (PBES2).
func testP12(t *testing.T, m material, password string) string {
	t.Helper()
	data, err := pkcs12.Modern.Encode(m.key, m.leaf, nil, password)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
