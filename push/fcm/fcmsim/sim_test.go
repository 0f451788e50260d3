package fcmsim_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wakebridge/push/fcm/fcmsim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "device:APA91b"

// client speaks to a Sim as Google's documentation says, and not as our sender does.
type client struct {
	t       *testing.T
	sim     *fcmsim.Sim
	http    *http.Client
	account struct {
		ClientEmail  string `json:"client_email"`
		PrivateKey   string `json:"private_key"`
		PrivateKeyID string `json:"private_key_id"`
		TokenURI     string `json:"token_uri"`
	}
}

func newClient(t *testing.T) *client {
	t.Helper()
	sim, err := fcmsim.New("example")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(sim.CA()) {
		t.Fatal("no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(func() { transport.CloseIdleConnections(); sim.Close() })
	c := &client{t: t, sim: sim, http: &http.Client{Transport: transport}}
	file, err := sim.Account()
	if err == nil {
		err = json.Unmarshal(file, &c.account)
	}
	if err != nil {
		t.Fatal(err)
	}
	sim.Register(token)
	return c
}

// answer is what came back.
type answer struct {
	status     int
	retryAfter string
	body       string
}

func (c *client) post(ctx context.Context, to, contentType, bearer, body string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer "+bearer)
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header.Get("Retry-After"), string(text)}, err
}

// claims are those of a good assertion.
func (c *client) claims() map[string]any {
	now := time.Now().Unix()
	return map[string]any{"iss": c.account.ClientEmail, "aud": c.account.TokenURI, "iat": now, "exp": now + 3600,
		"scope": "https://www.googleapis.com/auth/firebase.messaging"}
}

// assertion is a JWT (RFC 7519) with the account's signature.
func (c *client) assertion(claims map[string]any, head map[string]string) string {
	block, _ := pem.Decode([]byte(c.account.PrivateKey))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		c.t.Fatal(err)
	}
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			c.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(head) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:]) //nolint:forcetypeassert // a service account's is
	if err != nil {
		c.t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func (c *client) head() map[string]string {
	return map[string]string{"alg": "RS256", "typ": "JWT", "kid": c.account.PrivateKeyID}
}

func (c *client) exchange(grant, assertion string) answer {
	c.t.Helper()
	form := url.Values{"grant_type": {grant}, "assertion": {assertion}}
	a, err := c.post(c.t.Context(), c.account.TokenURI, "application/x-www-form-urlencoded", "", form.Encode())
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

const byJWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// signIn gets an access token.
func (c *client) signIn() string {
	c.t.Helper()
	a := c.exchange(byJWT, c.assertion(c.claims(), c.head()))
	var got struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.AccessToken == "" || got.TokenType != "Bearer" || got.ExpiresIn <= 0 {
		c.t.Fatalf("%+v, %v", a, err)
	}
	return got.AccessToken
}

func (c *client) sendURL(project string) string {
	return c.sim.URL() + "/v1/projects/" + project + "/messages:send"
}

func (c *client) send(bearer, body string) answer {
	c.t.Helper()
	a, err := c.post(c.t.Context(), c.sendURL("example"), "application/json", bearer, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// message is a good one with changes to its parts; nil takes a part out.
func message(t *testing.T, changes map[string]any) string {
	t.Helper()
	m := map[string]any{"token": token, "android": map[string]string{"priority": "HIGH", "ttl": "25s"}, "data": map[string]string{"type": "call", "uuid": "u"}}
	maps.Copy(m, changes)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(map[string]any{"message": m}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// RFC 7523 s3, and what Google's documentation adds.
func TestSignIn(t *testing.T) {
	c := newClient(t)
	if first, second := c.signIn(), c.signIn(); first == second {
		t.Error("two sign-ins, one access token")
	}
	claim := func(name string, v any) string {
		claims := c.claims()
		claims[name] = v
		return c.assertion(claims, c.head())
	}
	now := time.Now().Unix()
	good := c.assertion(c.claims(), c.head())
	for name, bad := range map[string]string{
		"no JWT":                 "x.y",
		"no base64":              "!.!.!",
		"another's signature":    good[:strings.LastIndex(good, ".")+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 256)),
		"another algorithm":      c.assertion(c.claims(), map[string]string{"alg": "HS256", "kid": c.account.PrivateKeyID}),
		"another key":            c.assertion(c.claims(), map[string]string{"alg": "RS256", "kid": "other"}),
		"another issuer":         claim("iss", "other@example.com"),
		"for another service":    claim("aud", "https://example.com/token"),
		"for another purpose":    claim("scope", "https://www.googleapis.com/auth/cloud-platform"),
		"of the future":          claim("iat", now+3000),
		"expired":                claim("exp", now-1),
		"good for more than 1 h": claim("exp", now+7200),
	} {
		if a := c.exchange(byJWT, bad); a.status != 400 || !strings.Contains(a.body, "invalid_grant") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := c.exchange("password", good); a.status != 400 {
		t.Errorf("another grant: %+v", a)
	}
	if n := c.sim.SignIns(); n != 14 {
		t.Errorf("%d sign-ins are counted", n)
	}
}

// What the HTTP v1 API takes and refuses.
func TestSend(t *testing.T) {
	c := newClient(t)
	c.sim.Refuse("gone", "UNREGISTERED")
	c.sim.Refuse("other", "SENDER_ID_MISMATCH")
	bearer := c.signIn()
	android := func(priority, ttl string) map[string]any {
		return map[string]any{"android": map[string]string{"priority": priority, "ttl": ttl}}
	}
	data := func(key, value string) map[string]any { return map[string]any{"data": map[string]string{key: value}} }
	for name, tt := range map[string]struct {
		body   string
		status int
		word   string // in the body of the answer
	}{
		"good":                     {message(t, nil), 200, "projects/example/messages/"},
		"of normal priority":       {message(t, android("NORMAL", "0s")), 200, ""},
		"of 4096 bytes":            {message(t, data("k", strings.Repeat("x", 4095))), 200, ""},
		"of more":                  {message(t, data("k", strings.Repeat("x", 4096))), 400, `"message.data"`},
		"with a reserved key":      {message(t, data("from", "100")), 400, "message.data[from]"},
		"with Google's key":        {message(t, data("google.x", "1")), 400, "message.data[google.x]"},
		"with a number":            {message(t, map[string]any{"data": map[string]int{"k": 1}}), 400, "INVALID_ARGUMENT"},
		"that shows a thing":       {message(t, map[string]any{"notification": map[string]string{"title": "x"}}), 400, "INVALID_ARGUMENT"},
		"without priority":         {message(t, android("", "1s")), 400, "message.android.priority"},
		"with a bare number":       {message(t, android("HIGH", "25")), 400, "message.android.ttl"},
		"of a removed app":         {message(t, map[string]any{"token": "gone"}), 404, `"errorCode":"UNREGISTERED"`},
		"of another project's app": {message(t, map[string]any{"token": "other"}), 403, `"errorCode":"SENDER_ID_MISMATCH"`},
		"to nobody":                {message(t, map[string]any{"token": nil}), 400, "message.token"},
		"that is no JSON":          {"{", 400, "INVALID_ARGUMENT"},
	} {
		if a := c.send(bearer, tt.body); a.status != tt.status || !strings.Contains(a.body, tt.word) {
			t.Errorf("a message %s: %+v", name, a)
		}
		got := c.sim.Requests()
		if last := got[len(got)-1]; last.Status != tt.status || last.Body != tt.body || last.Bearer != bearer || last.Proto != "HTTP/2.0" || time.Since(last.At) > time.Minute {
			t.Errorf("journal of a message %s: %+v", name, last)
		}
		if n := len(c.sim.Deliveries()); (n == 1) != (tt.status == 200) {
			t.Errorf("a message %s: %d deliveries", name, n)
		}
		if tt.status == 200 {
			<-c.sim.Deliveries()
		}
	}
	if a, err := c.post(t.Context(), c.sendURL("elsewhere"), "application/json", bearer, message(t, nil)); err != nil || a.status != 403 {
		t.Errorf("another project: %+v, %v", a, err)
	}
	if a := c.send("ya29.stranger", message(t, nil)); a.status != 401 || !strings.Contains(a.body, "UNAUTHENTICATED") {
		t.Errorf("without an access token: %+v", a)
	}
	c.sim.Expire()
	if a := c.send(bearer, message(t, nil)); a.status != 401 {
		t.Errorf("with one that expired: %+v", a)
	}
}

func TestDelivery(t *testing.T) {
	c := newClient(t)
	c.send(c.signIn(), message(t, nil))
	if m := <-c.sim.Deliveries(); m.Token != token || m.Priority != "HIGH" || m.TTL != "25s" || !maps.Equal(m.Data, map[string]string{"type": "call", "uuid": "u"}) {
		t.Errorf("%+v", m)
	}
}

// Faults answer one request each, in their order, and the two services have their own.
func TestFaults(t *testing.T) {
	c := newClient(t)
	c.sim.Fail(fcmsim.Fault{Status: 429, Reason: "QUOTA_EXCEEDED", RetryAfter: "7"}, fcmsim.Fault{SignIn: true, Status: 401, Reason: "invalid_client"},
		fcmsim.Fault{Status: 503})
	if a := c.exchange(byJWT, c.assertion(c.claims(), c.head())); a.status != 401 || !strings.Contains(a.body, "invalid_client") {
		t.Errorf("signing in: %+v", a)
	}
	bearer := c.signIn()
	if a := c.send(bearer, message(t, nil)); a.status != 429 || a.retryAfter != "7" || !strings.Contains(a.body, "QUOTA_EXCEEDED") {
		t.Errorf("%+v", a)
	}
	if a := c.send(bearer, message(t, nil)); a.status != 503 || !strings.Contains(a.body, "UNAVAILABLE") {
		t.Errorf("%+v", a)
	}
	if n := len(c.sim.Deliveries()); n != 0 {
		t.Errorf("%d messages went out", n)
	}
	if a := c.send(bearer, message(t, nil)); a.status != 200 {
		t.Errorf("behind the faults: %+v", a)
	}
}

// One that hangs is noted and goes nowhere; one that is cut goes to the device, and the
// sender does not hear it.
func TestNoAnswer(t *testing.T) {
	c := newClient(t)
	bearer := c.signIn()
	c.sim.Fail(fcmsim.Fault{Cut: true}, fcmsim.Fault{Hang: true})
	if a, err := c.post(t.Context(), c.sendURL("example"), "application/json", bearer, message(t, nil)); err == nil {
		t.Errorf("the cut message was answered: %+v", a)
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { // awaited below
		_, err := c.post(ctx, c.sendURL("example"), "application/json", bearer, message(t, nil))
		over <- err
	}()
	for len(c.sim.Requests()) < 2 {
		select {
		case err := <-over:
			t.Fatalf("the hanging message has an end: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	cancel()
	if err := <-over; err == nil {
		t.Error("the hanging message was answered")
	}
	statuses := make([]int, 0, 2)
	for _, r := range c.sim.Requests() {
		statuses = append(statuses, r.Status)
	}
	if n := len(c.sim.Deliveries()); n != 1 || !slices.Equal(statuses, []int{200, 0}) {
		t.Errorf("%d deliveries, %v", n, statuses)
	}
}
