package apnssim

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"time"
)

const (
	maxTokenAge  = time.Hour   // older provider tokens are expired
	maxClockLead = time.Minute // an iat this far in the future is a wrong clock
)

// ProviderToken is what a provider token says about itself. With a certificate
// in its place there are only the team and the certificate's name.
type ProviderToken struct {
	KeyID       string    `json:"key_id,omitempty"`
	TeamID      string    `json:"team_id"`
	IssuedAt    time.Time `json:"issued_at,omitzero"`
	Certificate string    `json:"certificate,omitempty"` // common name
}

var (
	errTokenForm      = errors.New("apnssim: not a compact JWS")
	errTokenAlgorithm = errors.New("apnssim: alg is not ES256")
	errTokenSignature = errors.New("apnssim: signature does not verify")
)

// jws is a provider token taken apart (RFC 7515 s3.1) but not yet trusted.
type jws struct {
	ProviderToken
	digest    [sha256.Size]byte
	signature []byte
}

// parseJWS takes a provider token apart: header {alg, kid}, claims {iss, iat}.
// It is written out here, and not taken from a JWT library, so that sender and
// simulator cannot share a mistake.
func parseJWS(compact string) (jws, error) {
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return jws{}, errTokenForm
	}
	var header struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
	}
	var claims struct {
		Iss string `json:"iss"`
		Iat *int64 `json:"iat"`
	}
	if decodePart(parts[0], &header) != nil || decodePart(parts[1], &claims) != nil || claims.Iat == nil {
		return jws{}, errTokenForm
	}
	if header.Alg != "ES256" {
		return jws{}, errTokenAlgorithm
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(signature) != 64 { // RFC 7518 s3.4
		return jws{}, errTokenSignature
	}
	return jws{
		ProviderToken: ProviderToken{KeyID: header.Kid, TeamID: claims.Iss, IssuedAt: time.Unix(*claims.Iat, 0)},
		digest:        sha256.Sum256([]byte(parts[0] + "." + parts[1])),
		signature:     signature,
	}, nil
}

func decodePart(part string, into any) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (j jws) verify(public *ecdsa.PublicKey) error {
	r := new(big.Int).SetBytes(j.signature[:32])
	s := new(big.Int).SetBytes(j.signature[32:])
	if !ecdsa.Verify(public, j.digest[:], r, s) {
		return errTokenSignature
	}
	return nil
}
