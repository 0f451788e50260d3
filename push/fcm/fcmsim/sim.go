// Package fcmsim is a small FCM for tests: it signs a service account in by
// OAuth 2.0 (RFC 7523) and takes data messages as the HTTP v1 API does, checks
// both, and fails on demand. It runs on loopback behind TLS and HTTP/2.
package fcmsim

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// Sim is a simulated FCM for one Firebase project.
type Sim struct {
	Project string

	server *httptest.Server
	key    *rsa.PrivateKey

	mu         sync.Mutex
	tokens     map[string]string // device tokens and the reason that refuses them, "" for none
	bearers    map[string]bool   // access tokens that are good
	signIns    int
	faults     []Fault
	requests   []Request
	deliveries chan Message
}

// Message is a push that was accepted.
type Message struct {
	Token    string
	Priority string
	TTL      string
	Data     map[string]string
}

// Request is an attempt to send, accepted or not.
type Request struct {
	At     time.Time // when it was here
	Proto  string    // "HTTP/2.0"
	Bearer string
	Body   string
	// Status is that of the answer; 0 for one that hung. With 200 the message went to
	// the device, also if a fault cut the answer.
	Status int
}

// Fault is an answer in place of the true one. With Hang there is none until the
// client gives up. With Cut there is none either: the push is taken, and the stream
// reset.
type Fault struct {
	SignIn     bool // of the token service, else of messages:send
	Status     int
	Reason     string // FCM's error code; of OAuth with SignIn
	RetryAfter string // seconds
	Hang       bool
	Cut        bool
	// Wait holds the answer of messages:send back: the sim sends on it when the request
	// is here, and then waits to receive. nil: it does not.
	Wait chan struct{}
}

// New starts one. Close ends it.
func New(project string) (*Sim, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("key of the service account: %w", err)
	}
	s := &Sim{Project: project, key: key, tokens: make(map[string]string), bearers: make(map[string]bool), deliveries: make(chan Message, 64)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.signIn)
	mux.HandleFunc("POST /v1/projects/{call}/messages:send", s.send)
	s.server = httptest.NewUnstartedServer(mux)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	return s, nil
}

// Close ends it and waits for what is under way.
func (s *Sim) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// URL is the base of both its services.
func (s *Sim) URL() string { return s.server.URL }

// CA is the certificate to trust, in PEM.
func (s *Sim) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
}

// Email is the address of the service account.
func (s *Sim) Email() string { return "sender@" + s.Project + ".iam.gserviceaccount.com" }

// Account is the service account's file.
func (s *Sim) Account() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return nil, fmt.Errorf("service account: %w", err)
	}
	return json.Marshal(map[string]string{
		"type": "service_account", "project_id": s.Project, "private_key_id": keyID, "client_email": s.Email(),
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"token_uri":   s.URL() + "/token",
	})
}

const keyID = "0123456789abcdef"

// Register makes a device token known.
func (s *Sim) Register(token string) { s.Refuse(token, "") }

// Refuse makes a device token known as one that is refused for a reason, as
// UNREGISTERED or SENDER_ID_MISMATCH; "" accepts it.
func (s *Sim) Refuse(token, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = reason
}

// Fail answers the next requests with faults, one each.
func (s *Sim) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// Expire makes every access token worthless.
func (s *Sim) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.bearers)
}

// Deliveries are the accepted pushes; the newest are lost when nobody reads.
func (s *Sim) Deliveries() <-chan Message { return s.deliveries }

// Requests are all attempts to send so far.
func (s *Sim) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// SignIns is how many access tokens were asked for.
func (s *Sim) SignIns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.signIns
}

// fault counts a request and takes the next fault of its service off the list, in
// one: who sees the count knows that a fault he adds is for the next.
func (s *Sim) fault(signIn bool) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if signIn {
		s.signIns++
	}
	for i, f := range s.faults {
		if f.SignIn == signIn {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			return f, true
		}
	}
	return Fault{}, false
}

func (s *Sim) deliver(m Message) {
	m.Data = maps.Clone(m.Data)
	select {
	case s.deliveries <- m:
	default:
	}
}
