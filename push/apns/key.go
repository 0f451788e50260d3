package apns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"

	"github.com/sideshow/apns2/token"

	"wakebridge/push"
)

// Key is a signing key for provider tokens. It prints as its id.
type Key struct {
	ID string // as Apple shows it, ten characters
	// Environment limits the key; Auto (or empty) means both.
	Environment push.Environment

	origin  origin
	private *ecdsa.PrivateKey
}

// String is the key's id.
func (k Key) String() string { return "key " + k.ID }

// GoString is the key's id (%#v).
func (k Key) GoString() string { return k.String() }

// serves says whether the key may be used in env.
func (k Key) serves(env push.Environment) bool {
	return !k.Environment.Known() || k.Environment == env
}

// LoadKey reads a key file as Apple gives it out (.p8). The file must be
// readable by its owner only. Errors: ErrKeyExposed, ErrBadKey, those of
// reading.
func LoadKey(path, id string) (Key, error) {
	from := originOf(path, "")
	pem, err := readPrivate(path)
	if err != nil {
		return Key{}, fmt.Errorf("APNs key: %w", err)
	}
	k, err := ParseKey(pem, id)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	k.origin = from
	return k, nil
}

// ParseKey reads a key from PEM bytes. Errors wrap ErrBadKey.
func ParseKey(pem []byte, id string) (Key, error) {
	if id == "" {
		return Key{}, fmt.Errorf("key without id: %w", ErrBadKey)
	}
	private, err := token.AuthKeyFromBytes(pem)
	if err != nil {
		return Key{}, fmt.Errorf("key %s: %w: %w", id, ErrBadKey, err)
	}
	if private.Curve != elliptic.P256() {
		return Key{}, fmt.Errorf("key %s is not on P-256: %w", id, ErrBadKey)
	}
	return Key{ID: id, private: private}, nil
}
