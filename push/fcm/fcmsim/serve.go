package fcmsim

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const (
	maxBody = 64 << 10
	maxData = 4096 // bytes of keys and values
)

// signIn is the token service: a JWT of the service account for an access token.
func (s *Sim) signIn(w http.ResponseWriter, r *http.Request) {
	if f, ok := s.fault(true); ok {
		if f.Hang {
			<-r.Context().Done()
			return
		}
		writeJSON(w, f.Status, map[string]string{"error": f.Reason, "error_description": "as the test wants"})
		return
	}
	if err := s.verify(r); err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": err.Error()})
		return
	}
	bearer := "ya29." + rand.Text()
	s.mu.Lock()
	s.bearers[bearer] = true
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"access_token": bearer, "token_type": "Bearer", "expires_in": 3599})
}

// verify checks the assertion as RFC 7523 s3 and Google's documentation ask.
func (s *Sim) verify(r *http.Request) error {
	if r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return errors.New("grant_type")
	}
	parts := strings.Split(r.PostFormValue("assertion"), ".")
	if len(parts) != 3 {
		return errors.New("assertion is no JWT")
	}
	var texts [3][]byte
	for i, part := range parts {
		var err error
		if texts[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return errors.New("assertion is not base64url")
		}
	}
	var head struct{ Alg, Kid string }
	var claims struct {
		Iss, Scope, Aud string
		Iat, Exp        int64
	}
	if err := errors.Join(json.Unmarshal(texts[0], &head), json.Unmarshal(texts[1], &claims)); err != nil {
		return errors.New("assertion is not JSON")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	now := time.Now().Unix()
	switch {
	case head.Alg != "RS256" || head.Kid != keyID:
		return errors.New("header")
	case rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, sum[:], texts[2]) != nil:
		return errors.New("signature")
	case claims.Iss != s.Email() || claims.Aud != s.URL()+"/token":
		return errors.New("iss or aud")
	case claims.Scope != "https://www.googleapis.com/auth/firebase.messaging":
		return errors.New("scope")
	case claims.Iat > now+60 || claims.Exp < now || claims.Exp > claims.Iat+3600:
		return errors.New("iat or exp")
	}
	return nil
}

// refusal is an answer of FCM that is not 200.
type refusal struct {
	status int
	code   string // FCM's, in the details
	field  string // of an INVALID_ARGUMENT
}

var statusWords = map[int]string{ //nolint:gochecknoglobals // a table, never written
	400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
	429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}

var codeStatus = map[string]int{ //nolint:gochecknoglobals // a table, never written
	"UNREGISTERED": 404, "SENDER_ID_MISMATCH": 403, "INVALID_ARGUMENT": 400,
}

// send is messages:send.
func (s *Sim) send(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return // the client went away
	}
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	req := Request{At: time.Now(), Proto: r.Proto, Bearer: bearer, Body: string(body)}
	f, failing := s.fault(false)
	if failing && f.Hang {
		s.note(req)
		<-r.Context().Done()
		return
	}
	if f.Wait != nil {
		f.Wait <- struct{}{}
		<-f.Wait
	}
	message, no := s.judge(r.PathValue("call"), bearer, body)
	if failing && !f.Cut {
		no = &refusal{status: f.Status, code: f.Reason}
	}
	if no != nil {
		req.Status = no.status
		s.note(req)
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		writeJSON(w, no.status, no.body())
		return
	}
	req.Status = http.StatusOK
	s.note(req)
	s.deliver(message)
	if f.Cut {
		panic(http.ErrAbortHandler) //nolint:forbidigo // so a handler has its stream reset
	}
	writeJSON(w, http.StatusOK, map[string]string{"name": "projects/" + s.Project + "/messages/0:1"})
}

func (s *Sim) note(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
}

func (r refusal) body() any {
	var details []any
	if r.code != "" {
		details = append(details, map[string]string{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": r.code})
	}
	if r.field != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.rpc.BadRequest",
			"fieldViolations": []any{map[string]string{"field": r.field, "description": "invalid"}}})
	}
	return map[string]any{"error": map[string]any{"code": r.status, "message": "refused", "status": statusWords[r.status], "details": details}}
}

var ttls = regexp.MustCompile(`^[0-9]{1,7}s$`)

// judge checks a request as FCM does: who sends, then what, then to whom.
func (s *Sim) judge(project, bearer string, body []byte) (Message, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.bearers[bearer] {
		return Message{}, &refusal{status: 401}
	}
	if project != s.Project {
		return Message{}, &refusal{status: 403}
	}
	var in struct {
		Message struct {
			Token   string `json:"token"`
			Android struct {
				Priority string `json:"priority"`
				TTL      string `json:"ttl"`
			} `json:"android"`
			Data map[string]string `json:"data"`
		} `json:"message"`
	}
	read := json.NewDecoder(bytes.NewReader(body))
	read.DisallowUnknownFields() // a "notification" would not start the app
	if err := read.Decode(&in); err != nil {
		return Message{}, &refusal{400, "INVALID_ARGUMENT", "message"}
	}
	m := Message{Token: in.Message.Token, Priority: in.Message.Android.Priority, TTL: in.Message.Android.TTL, Data: in.Message.Data}
	size := 0
	for k, v := range m.Data {
		if k == "from" || k == "message_type" || strings.HasPrefix(k, "google") || strings.HasPrefix(k, "gcm") {
			return Message{}, &refusal{400, "INVALID_ARGUMENT", fmt.Sprintf("message.data[%s]", k)}
		}
		size += len(k) + len(v)
	}
	switch {
	case size > maxData:
		return Message{}, &refusal{400, "INVALID_ARGUMENT", "message.data"}
	case m.Priority != "HIGH" && m.Priority != "NORMAL":
		return Message{}, &refusal{400, "INVALID_ARGUMENT", "message.android.priority"}
	case !ttls.MatchString(m.TTL):
		return Message{}, &refusal{400, "INVALID_ARGUMENT", "message.android.ttl"}
	}
	reason, known := s.tokens[m.Token]
	if !known {
		return Message{}, &refusal{400, "INVALID_ARGUMENT", "message.token"}
	}
	if reason != "" {
		return Message{}, &refusal{status: codeStatus[reason], code: reason}
	}
	return m, nil
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		return // the client went away
	}
}
