package srtp

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/pion/srtp/v3"
)

// Suite is a crypto suite of RFC 4568 s6.2, RFC 6188 or RFC 7714.
type Suite uint8

// The suites, the strongest first: the order in which they are offered. GCM costs
// less than half of what AES-CM with HMAC does.
const (
	AEADAES256GCM Suite = iota + 1
	AEADAES128GCM
	AES256CMHMACSHA180
	AES256CMHMACSHA132
	AESCM128HMACSHA180
	AESCM128HMACSHA132
)

// suite is what is to know of a Suite.
type suite struct {
	name    string
	profile srtp.ProtectionProfile
	key     int // octets
	salt    int
	tag     int // what RTP grows by
}

func (s Suite) facts() suite {
	switch s {
	case AEADAES256GCM:
		return suite{"AEAD_AES_256_GCM", srtp.ProtectionProfileAeadAes256Gcm, 32, 12, 16}
	case AEADAES128GCM:
		return suite{"AEAD_AES_128_GCM", srtp.ProtectionProfileAeadAes128Gcm, 16, 12, 16}
	case AES256CMHMACSHA180:
		return suite{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32, 14, 10}
	case AES256CMHMACSHA132:
		return suite{"AES_256_CM_HMAC_SHA1_32", srtp.ProtectionProfileAes256CmHmacSha1_32, 32, 14, 4}
	case AESCM128HMACSHA180:
		return suite{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14, 10}
	case AESCM128HMACSHA132:
		return suite{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14, 4}
	}
	return suite{}
}

// Suites lists all, the strongest first.
func Suites() []Suite {
	return []Suite{AEADAES256GCM, AEADAES128GCM, AES256CMHMACSHA180, AES256CMHMACSHA132, AESCM128HMACSHA180, AESCM128HMACSHA132}
}

// ParseSuite finds a suite by the name that a=crypto has for it; names are exact
// (RFC 4568 s9.1).
func ParseSuite(name string) (Suite, bool) {
	for _, s := range Suites() {
		if n := s.facts().name; n == name {
			return s, true
		}
	}
	return 0, false
}

// String is the suite's name in a=crypto.
func (s Suite) String() string {
	if n := s.facts().name; n != "" {
		return n
	}
	return fmt.Sprintf("Suite(%d)", uint8(s))
}

// KeyLength is the length of master key and master salt together, in octets.
func (s Suite) KeyLength() int { return s.facts().key + s.facts().salt }

// Key is what one end sends with. As text it is its suite: the secret is shown to
// nobody but whoever asks Secret, to write it into an SDP.
type Key struct {
	suite  Suite
	secret []byte // master key, then master salt
	mki    []byte
}

// NewKey makes a random key.
func NewKey(s Suite) (Key, error) {
	if s.facts().name == "" {
		return Key{}, ErrSuite
	}
	k := Key{suite: s, secret: make([]byte, s.KeyLength())}
	rand.Read(k.secret) // never fails: crypto/rand ends the program instead
	return k, nil
}

// ParseKey is the key of an a=crypto line: secret is what stands behind "inline:",
// decoded. mki is the master key identifier as it is in each packet, nil without
// one, at most 128 octets. The error is ErrSuite.
func ParseKey(s Suite, secret, mki []byte) (Key, error) {
	if s.facts().name == "" || len(secret) != s.KeyLength() || len(mki) > 128 {
		return Key{}, fmt.Errorf("%w: %s with %d octets", ErrSuite, s, len(secret))
	}
	return Key{suite: s, secret: slices.Clone(secret), mki: slices.Clone(mki)}, nil
}

// Suite is the suite that the key is for.
func (k Key) Suite() Suite { return k.suite }

// Secret is master key and salt, for the author's own SDP.
func (k Key) Secret() []byte { return slices.Clone(k.secret) }

// IsZero says that there is no key.
func (k Key) IsZero() bool { return k.suite == 0 }

// Equal says that two keys are the same: then what was counted under one of them
// goes on (RFC 3711 s3.3.1).
func (k Key) Equal(l Key) bool {
	return k.suite == l.suite && subtle.ConstantTimeCompare(k.secret, l.secret) == 1 && slices.Equal(k.mki, l.mki)
}

// Format writes the suite, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) {
	io.WriteString(f, k.suite.String()) //nolint:errcheck // as fmt does
}

// LogValue is the suite.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.suite.String()) }

// MarshalText is the suite; a key cannot be read back from it.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.suite.String()), nil }

// context makes the transform for one direction. Windows are those of RFC 3711
// s3.3.2, large enough for a jittery mobile network.
func (k Key) context() (*srtp.Context, error) {
	f := k.suite.facts()
	if f.name == "" {
		return nil, ErrSuite
	}
	options := []srtp.ContextOption{srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow)}
	if len(k.mki) > 0 {
		options = append(options, srtp.MasterKeyIndicator(k.mki))
	}
	c, err := srtp.CreateContext(k.secret[:f.key], k.secret[f.key:], f.profile, options...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSuite, err)
	}
	return c, nil
}

const replayWindow = 128
