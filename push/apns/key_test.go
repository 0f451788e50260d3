package apns_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wakebridge/push"
	"wakebridge/push/apns"
)

func anyPEM(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return pkcs8(t, key)
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func anyKey(t testing.TB) apns.Key {
	t.Helper()
	key, err := apns.ParseKey(anyPEM(t), keyID)
	must(t, err)
	return key
}

func TestLoadKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, content []byte, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, content, 0o600))
		must(t, os.Chmod(path, mode))
		return path
	}
	good := anyPEM(t)
	for _, mode := range []os.FileMode{0o600, 0o400} {
		key, err := apns.LoadKey(write("good", good, mode), keyID)
		if err != nil || key.ID != keyID {
			t.Errorf("mode %o: %v, %v", mode, key, err)
		}
		must(t, os.Remove(filepath.Join(dir, "good")))
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o644, 0o620} {
		_, err := apns.LoadKey(write("open", good, mode), keyID)
		if !errors.Is(err, apns.ErrKeyExposed) || !strings.Contains(err.Error(), "chmod 600") || !strings.Contains(err.Error(), "open") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	if _, err := apns.LoadKey(filepath.Join(dir, "none"), keyID); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := apns.LoadKey(dir, keyID); !errors.Is(err, apns.ErrBadKey) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := apns.LoadKey(write("bad", []byte("no key"), 0o600), keyID); !errors.Is(err, apns.ErrBadKey) || !strings.Contains(err.Error(), "bad") {
		t.Errorf("bad file: %v", err)
	}
}

func TestParseKeyRefusesWithoutShowing(t *testing.T) {
	t.Parallel()
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	whole := anyPEM(t)
	tests := map[string][]byte{
		"empty":     nil,
		"no PEM":    []byte("c2VjcmV0LXNlY3JldC1zZWNyZXQ="),
		"truncated": append(whole[:len(whole)/2:len(whole)/2], "\n-----END PRIVATE KEY-----\n"...),
		"P-384":     pkcs8(t, wide),
		"RSA":       pkcs8(t, other),
	}
	for name, content := range tests {
		_, err := apns.ParseKey(content, keyID)
		if !errors.Is(err, apns.ErrBadKey) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if body := strings.Split(string(content), "\n"); len(body) > 1 && strings.Contains(err.Error(), body[1]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if _, err := apns.ParseKey(whole, ""); !errors.Is(err, apns.ErrBadKey) {
		t.Errorf("without id: %v", err)
	}
}

func TestKeyPrintsAsItsID(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	key, err := apns.ParseKey(pkcs8(t, private), keyID)
	must(t, err)
	doc, err := json.Marshal(key)
	must(t, err)
	scalar, err := private.Bytes()
	must(t, err)
	app := apns.App{BundleID: bundle, Keys: []apns.Key{key}}
	texts := []string{string(doc)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		texts = append(texts, fmt.Sprintf(verb, key), fmt.Sprintf(verb, &key), fmt.Sprintf(verb, app))
	}
	for _, text := range texts {
		for _, form := range []string{fmt.Sprintf("%x", scalar), new(big.Int).SetBytes(scalar).String(), base64.StdEncoding.EncodeToString(scalar)} {
			if strings.Contains(text, form) {
				t.Errorf("key shown in %s", text)
			}
		}
	}
}

func TestNewNamesEveryFault(t *testing.T) {
	t.Parallel()
	key, twin := anyKey(t), anyKey(t) // same id, another key
	sandboxOnly := key
	sandboxOnly.Environment = push.Sandbox
	_, err := apns.New(apns.Config{
		Production: "http://api.push.apple.com",
		Sandbox:    "https://user:password@host/path",
		Apps: []apns.App{
			{BundleID: "com.example.phone.voip", TeamID: team, Keys: []apns.Key{key}},
			{BundleID: "no spaces", TeamID: team, Keys: []apns.Key{twin}},
			{BundleID: "com.example.two"},
			{BundleID: "com.example.three", TeamID: team, Keys: []apns.Key{{ID: "X"}}},
			{BundleID: "com.example.four", TeamID: team, Environment: push.Production, Keys: []apns.Key{sandboxOnly}},
		},
	})
	if !errors.Is(err, apns.ErrBadConfig) {
		t.Fatal(err)
	}
	for _, want := range []string{
		"production: the address must be https://host", "sandbox: the address must be",
		"without .voip", "letters, digits", "another key", "team_id is missing", "no key", "was not loaded", "no key serves the production",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "password") {
		t.Errorf("a password is shown: %v", err)
	}
}
