package apnssim

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
)

func (a *admin) addKey(w http.ResponseWriter, r *http.Request) {
	var body struct {
		TeamID      string      `json:"team_id"`
		KeyID       string      `json:"key_id"`
		Environment Environment `json:"environment"` // empty: both
		Topics      []string    `json:"topics"`      // empty: all
		PublicKey   string      `json:"public_key"`  // PEM; empty: one is made
	}
	if !read(w, r, &body) {
		return
	}
	k := Key{ID: body.KeyID, TeamID: body.TeamID, Environment: body.Environment, Topics: body.Topics}
	if body.PublicKey != "" {
		var err error
		if k.Public, err = publicKey(body.PublicKey); err == nil {
			err = a.sim.PutKey(k)
		}
		done(w, err)
		return
	}
	p8, err := a.sim.generateKey(k)
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, map[string]string{"p8": string(p8)})
}

func publicKey(text string) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, fmt.Errorf("%w: no PEM", ErrBadKey)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, ErrBadKey
	}
	return key, nil
}

func (a *admin) removeKey(w http.ResponseWriter, r *http.Request) {
	a.sim.RemoveKey(r.PathValue("id"))
	done(w, nil)
}

func (a *admin) removeApp(w http.ResponseWriter, r *http.Request) {
	a.sim.RemoveApp(r.PathValue("bundle"))
	done(w, nil)
}

// certificateBody asks for a certificate, or brings one.
type certificateBody struct {
	TeamID      string      `json:"team_id"`
	Bundle      string      `json:"bundle"`
	Kind        Kind        `json:"kind"`
	Environment Environment `json:"environment"` // empty: both
	Password    string      `json:"password"`    // of the .p12
	Certificate string      `json:"certificate"` // PEM of one that exists
	Topics      []string    `json:"topics"`      // of that
}

func (a *admin) addCertificate(w http.ResponseWriter, r *http.Request) {
	var body certificateBody
	if !read(w, r, &body) {
		return
	}
	var got struct {
		Fingerprint string `json:"fingerprint"` // SHA-256, hex
		PEM         string `json:"pem,omitempty"`
		P12         []byte `json:"p12,omitempty"` // base64
	}
	if body.Certificate != "" {
		leaf, err := a.putCertificate(body)
		if err != nil {
			failed(w, err)
			return
		}
		got.Fingerprint = fingerprint(leaf)
		answer(w, got)
		return
	}
	c, err := a.sim.IssueCertificate(body.TeamID, body.Bundle, body.Kind, body.Environment)
	if err != nil {
		failed(w, err)
		return
	}
	got.Fingerprint, got.PEM = fingerprint(c.Leaf), string(c.PEM)
	if got.P12, err = c.P12(body.Password); err != nil {
		failed(w, err)
		return
	}
	answer(w, got)
}

func (a *admin) putCertificate(body certificateBody) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(body.Certificate))
	if block == nil {
		return nil, fmt.Errorf("%w: certificate: no PEM", ErrBadIdentifier)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: certificate: %w", ErrBadIdentifier, err)
	}
	return leaf, a.sim.PutCertificate(leaf, Certificate{TeamID: body.TeamID, Topics: body.Topics, Environment: body.Environment})
}

func fingerprint(leaf *x509.Certificate) string {
	sum := sha256.Sum256(leaf.Raw)
	return hex.EncodeToString(sum[:])
}

func (a *admin) removeCertificate(w http.ResponseWriter, r *http.Request) {
	sum, err := hex.DecodeString(r.PathValue("fingerprint"))
	if err != nil || len(sum) != sha256.Size {
		problem(w, http.StatusBadRequest, "fingerprint is not a SHA-256 in hex")
		return
	}
	a.sim.registry.removeCertificate([sha256.Size]byte(sum))
	done(w, nil)
}
