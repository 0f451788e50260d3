package fcm

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
)

// maxAccountFile bounds a service account file, in bytes; a real one has about
// 2400.
const maxAccountFile = 64 << 10

// Account is a service account that may send for a Firebase project. It prints
// as its address; its private key never does.
type Account struct {
	Email     string
	ProjectID string // the project that the account belongs to
	TokenURL  string // where it gets access tokens, https

	keyID string
	key   []byte // PEM
}

// String is the account's address.
func (a Account) String() string { return a.Email }

// GoString is the account's address (%#v).
func (a Account) GoString() string { return a.Email }

// LogValue is the account's address.
func (a Account) LogValue() slog.Value { return slog.StringValue(a.Email) }

// LoadAccount reads a service account file as Google gives it out (JSON). It
// must be readable by its owner only. Errors: ErrAccountExposed, ErrBadAccount,
// those of reading.
func LoadAccount(path string) (Account, error) {
	f, err := os.Open(path)
	if err != nil {
		return Account{}, fmt.Errorf("FCM service account: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return Account{}, fmt.Errorf("FCM service account: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Account{}, fmt.Errorf("%s is not a file: %w", path, ErrBadAccount)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Account{}, fmt.Errorf("%s has mode %04o: %w", path, mode, ErrAccountExposed)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxAccountFile))
	if err != nil {
		return Account{}, fmt.Errorf("FCM service account: %w", err)
	}
	a, err := ParseAccount(text)
	if err != nil {
		return Account{}, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

// ParseAccount reads the JSON of a service account file. Errors wrap
// ErrBadAccount and repeat nothing of the text but the kind of its fault.
func ParseAccount(text []byte) (Account, error) {
	var file struct {
		Type       string `json:"type"`
		ProjectID  string `json:"project_id"`
		KeyID      string `json:"private_key_id"`
		PrivateKey string `json:"private_key"`
		Email      string `json:"client_email"`
		TokenURI   string `json:"token_uri"`
	}
	if json.Unmarshal(text, &file) != nil { // its error may quote the key
		return Account{}, fmt.Errorf("no JSON: %w", ErrBadAccount)
	}
	switch {
	case file.Type != "service_account":
		return Account{}, fmt.Errorf(`its type is not "service_account": %w`, ErrBadAccount)
	case file.Email == "":
		return Account{}, fmt.Errorf("client_email is missing: %w", ErrBadAccount)
	case !isRSAKey(file.PrivateKey):
		return Account{}, fmt.Errorf("private_key is not an RSA key in PEM: %w", ErrBadAccount)
	}
	if u, err := url.Parse(file.TokenURI); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return Account{}, fmt.Errorf("token_uri is not an https URL: %w", ErrBadAccount)
	}
	return Account{Email: file.Email, ProjectID: file.ProjectID, TokenURL: file.TokenURI, keyID: file.KeyID, key: []byte(file.PrivateKey)}, nil
}

// isRSAKey says whether oauth2 will be able to sign with the key.
func isRSAKey(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return true
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return false
	}
	_, ok := key.(*rsa.PrivateKey)
	return ok
}

// identity says which accounts share an access token.
func (a Account) identity() string { return a.Email + " " + a.keyID + " " + a.TokenURL }
