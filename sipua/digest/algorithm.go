package digest

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Algorithm is a digest algorithm by its registered name.
type Algorithm string

// The supported algorithms (RFC 8760). Session variants ("-sess") are not.
const (
	MD5       Algorithm = "MD5"
	SHA256    Algorithm = "SHA-256"
	SHA512256 Algorithm = "SHA-512-256"
)

// preference is the order in which a Client chooses among several challenges.
func preference() []Algorithm { return []Algorithm{SHA256, SHA512256, MD5} }

// ParseAlgorithm reads a name in any case, as configuration ("md5", "sha-256") and
// header fields spell it. ok is false for one that is not supported.
func ParseAlgorithm(name string) (a Algorithm, ok bool) {
	for _, a := range preference() {
		if strings.EqualFold(name, string(a)) {
			return a, true
		}
	}
	return "", false
}

func (a Algorithm) hash() hash.Hash {
	switch a {
	case SHA256:
		return sha256.New()
	case SHA512256:
		return sha512.New512_256()
	default:
		return md5.New()
	}
}

// size is the length of a hash in hexadecimal characters.
func (a Algorithm) size() int { return 2 * a.hash().Size() }

// sum is the hexadecimal hash of the parts joined by ":" (KD and H of RFC 7616 s3.3).
func (a Algorithm) sum(parts ...string) string {
	h := a.hash()
	for i, p := range parts {
		if i > 0 {
			h.Write([]byte{':'})
		}
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// HA1 is H(username:realm:password) in lower-case hexadecimal, the form in which
// configuration may keep a password (RFC 7616 s3.4.2).
func HA1(a Algorithm, username, realm, password string) string {
	return a.sum(username, realm, password)
}

// CheckHA1 says why a configured HA1 cannot be one of that algorithm; nil if it
// can. The error does not repeat it.
func CheckHA1(a Algorithm, ha1 string) error {
	if len(ha1) != a.size() {
		return fmt.Errorf("an HA1 for %s has %d hexadecimal characters, not %d", a, a.size(), len(ha1))
	}
	if _, err := hex.DecodeString(ha1); err != nil {
		return fmt.Errorf("an HA1 for %s is hexadecimal", a)
	}
	return nil
}

// response is the request digest (RFC 7616 s3.4.1). With qop "" it is the form of
// RFC 2069, which RFC 7616 keeps for servers that offer no qop.
func response(a Algorithm, ha1, method string, p params) string {
	ha2 := a.sum(method, p["uri"])
	if p["qop"] == "" {
		return a.sum(ha1, p["nonce"], ha2)
	}
	return a.sum(ha1, p["nonce"], p["nc"], p["cnonce"], p["qop"], ha2)
}
