package fcm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"wakebridge/push"
)

const (
	// scope is what an access token must allow.
	scope = "https://www.googleapis.com/auth/firebase.messaging"
	// fetchTimeout bounds one request for an access token.
	fetchTimeout = 10 * time.Second
	// renewBefore is how long before its end a token is replaced, beside the
	// pushes that still use it. Google's last an hour.
	renewBefore = 5 * time.Minute
	// tooOld is how long before its end a token is no longer used.
	tooOld = 10 * time.Second
)

// access holds the access token of one account. Pushes share it, and those that
// need a new one share the request for it.
type access struct {
	account Account
	http    http.RoundTripper
	counted func(ok bool)
	life    context.Context
	stop    context.CancelFunc
	running sync.WaitGroup // fetches; added to under mu while open

	mu       sync.Mutex
	open     bool
	token    *oauth2.Token // nil: none
	fetching *fetching
}

// fetching is a request for a token that any number of pushes wait for.
type fetching struct {
	done  chan struct{} // closed when token or err is set
	token *oauth2.Token
	err   error
}

func newAccess(a Account, transport http.RoundTripper, counted func(ok bool)) *access {
	life, stop := context.WithCancel(context.Background())
	return &access{account: a, http: transport, counted: counted, life: life, stop: stop, open: true}
}

// current is a token to use now. It waits for one until ctx ends. Errors: those
// of oauth2, errClosed, ctx's.
func (a *access) current(ctx context.Context) (string, error) {
	a.mu.Lock()
	if !a.open {
		a.mu.Unlock()
		return "", errClosed
	}
	if t := a.token; t != nil && (t.Expiry.IsZero() || time.Until(t.Expiry) > tooOld) {
		if !t.Expiry.IsZero() && time.Until(t.Expiry) < renewBefore {
			a.fetchLocked()
		}
		a.mu.Unlock()
		return t.AccessToken, nil
	}
	f := a.fetchLocked()
	a.mu.Unlock()
	select {
	case <-f.done:
		if f.err != nil {
			return "", f.err
		}
		return f.token.AccessToken, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// disown drops a token that Google refused, unless it was replaced meanwhile.
func (a *access) disown(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != nil && a.token.AccessToken == token {
		a.token = nil
	}
}

// fetchLocked joins or starts a request for a token.
func (a *access) fetchLocked() *fetching {
	if a.fetching != nil {
		return a.fetching
	}
	f := &fetching{done: make(chan struct{})}
	a.fetching = f
	a.running.Go(func() { // close waits
		f.token, f.err = a.fetch()
		a.counted(f.err == nil)
		a.mu.Lock()
		if f.err == nil {
			a.token = f.token
		}
		a.fetching = nil
		a.mu.Unlock()
		close(f.done)
	})
	return f
}

func (a *access) fetch() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(a.life, fetchTimeout)
	defer cancel()
	config := jwt.Config{Email: a.account.Email, PrivateKey: a.account.key, PrivateKeyID: a.account.keyID,
		Scopes: []string{scope}, TokenURL: a.account.TokenURL}
	client := &http.Client{
		Transport:     bound{ctx, a.http},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t, err := config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, client)).Token()
	switch {
	case err != nil && a.life.Err() != nil:
		return nil, errClosed
	case err != nil:
		return nil, err
	case !tokenText.MatchString(t.AccessToken):
		return nil, errors.New("the answer holds no access token")
	}
	return t, nil
}

// bound ends requests with ctx: oauth2 makes them without one.
type bound struct {
	ctx  context.Context
	next http.RoundTripper
}

// RoundTrip is http.RoundTripper.
func (b bound) RoundTrip(req *http.Request) (*http.Response, error) {
	return b.next.RoundTrip(req.WithContext(b.ctx))
}

func (a *access) close() {
	a.mu.Lock()
	a.open = false
	a.mu.Unlock()
	a.stop()
	a.running.Wait()
}

// signInFailed is the answer of a push that got no access token. An error of
// oauth2 may hold the whole body of Google's answer: only the error's word is
// kept.
func signInFailed(ctx context.Context, err error) answer {
	if ended := ctx.Err(); ended != nil {
		return answer{reason: push.Ended(ended)}
	}
	if errors.Is(err, errClosed) {
		return answer{reason: push.Closed}
	}
	var refused *oauth2.RetrieveError
	if !errors.As(err, &refused) || refused.Response == nil {
		return answer{reason: push.Unreachable, detail: "no access token for FCM: Google's token service (token_uri) did not answer"}
	}
	status := refused.Response.StatusCode
	if status == http.StatusTooManyRequests || status >= http.StatusInternalServerError {
		return answer{reason: push.Unreachable, detail: fmt.Sprintf("no access token for FCM: Google's token service answered HTTP %d", status)}
	}
	what := fmt.Sprintf("HTTP %d", status)
	if word := oauthError(refused.Body); word != "" {
		what = word
	}
	return answer{reason: push.NoCredential, detail: "Google refused the service account: " + what + " (revoked or of another project? is this machine's clock right?)"}
}
