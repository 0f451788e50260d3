package apnssim

import (
	"crypto/ecdsa"
	"crypto/x509"
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

func (a *admin) addCertificate(w http.ResponseWriter, r *http.Request) {
	var body struct {
		TeamID      string      `json:"team_id"`
		Bundle      string      `json:"bundle"`
		Kind        Kind        `json:"kind"`
		Environment Environment `json:"environment"` // empty: both
		Password    string      `json:"password"`    // of the .p12
	}
	if !read(w, r, &body) {
		return
	}
	if body.Environment != "" && !body.Environment.valid() {
		problem(w, http.StatusBadRequest, "environment is neither sandbox nor production")
		return
	}
	c, err := a.sim.IssueCertificate(body.TeamID, body.Bundle, body.Kind, body.Environment)
	if err != nil {
		failed(w, err)
		return
	}
	p12, err := c.P12(body.Password)
	if err != nil {
		failed(w, err)
		return
	}
	answer(w, struct {
		PEM string `json:"pem"`
		P12 []byte `json:"p12"` // base64
	}{string(c.PEM), p12})
}
