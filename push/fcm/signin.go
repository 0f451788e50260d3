package fcm

import (
	"context"
	"fmt"
	"time"

	"wakebridge/push"
)

// SignInError says why Google gave no access token.
type SignInError struct {
	Reason push.Reason // as a push's that got none
	Text   string      // for a person
}

// Error is the text.
func (e *SignInError) Error() string { return e.Text }

// SignIn gets an access token for the account that sends for a project, and says
// until when it is good; zero: Google did not say. It uses none that is kept: a key
// that was revoked since must show. a is the account as its file says now. Errors:
// ErrOtherAccount, *SignInError.
func (s *Service) SignIn(ctx context.Context, project string, a Account) (until time.Time, err error) {
	served, ok := s.accounts[project]
	if !ok || served.account.identity() != a.identity() {
		return time.Time{}, fmt.Errorf("project %s: %w", project, ErrOtherAccount)
	}
	once := newAccess(a, s.transport, served.counted)
	defer once.close()
	defer context.AfterFunc(ctx, once.stop)()
	token, err := once.fetch()
	served.counted(err == nil)
	if err != nil {
		why := signInFailed(ctx, err)
		if why.detail == "" {
			why.detail = "no access token for FCM: " + string(why.reason)
		}
		return time.Time{}, &SignInError{why.reason, why.detail}
	}
	return token.Expiry, nil
}
