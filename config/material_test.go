package config

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"testing"
	"time"
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
