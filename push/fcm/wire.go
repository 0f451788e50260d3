package fcm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	"wakebridge/push"
)

// maxAnswer bounds what is read of an answer's body, in bytes.
const maxAnswer = 16 << 10

// letter is a notification ready for the wire but for how long it may live,
// which every try says anew.
type letter struct {
	token    push.DeviceToken
	data     map[string]string
	priority string
	until    time.Time     // zero: now or never
	written  *atomic.Int64 // when its first request was on the wire, UNIX ns
	stopped  func()        // called when the push is stopped and heard out
}

// wroteAt is when the first request was on the wire; zero: not known to be.
func (m letter) wroteAt() time.Time {
	if ns := m.written.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// envelope is the body of messages:send, as far as we use it.
type envelope struct {
	Message message `json:"message"`
}

type message struct {
	Token   string            `json:"token"`
	Android android           `json:"android"`
	Data    map[string]string `json:"data"`
}

type android struct {
	Priority string `json:"priority"`
	TTL      string `json:"ttl"` // seconds, as "25s"; "0s" is now or never
}

// priorityOf is how urgent a message is: what shows nothing to the user may wait, and
// would cost the app its right to the other one ("Set and manage Android message
// priority").
func priorityOf(k push.Kind) string {
	if k == push.Background {
		return "NORMAL"
	}
	return "HIGH"
}

// body is the request for a try at now.
func (m letter) body(now time.Time) ([]byte, error) {
	ttl := int64(0)
	if !m.until.IsZero() {
		ttl = max(0, int64(m.until.Sub(now)/time.Second))
	}
	b, err := json.Marshal(envelope{message{
		Token: m.token.Secret(), Data: m.data,
		Android: android{Priority: m.priority, TTL: strconv.FormatInt(ttl, 10) + "s"},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode FCM message: %w", err)
	}
	return b, nil
}

// answer is what came back of one request. Without a status nothing did, and
// reason is one of push's own.
type answer struct {
	status     int
	reason     push.Reason
	retryAfter time.Duration
	badToken   bool   // the fault that Google names is the device token
	detail     string // in words, where status is 0
}

func (a answer) accepted() bool { return a.status == http.StatusOK }

var (
	// reasonWord is the form of Google's reasons, oauthWord that of OAuth's;
	// anything else must not reach a log.
	reasonWord = regexp.MustCompile(`^[A-Z0-9_]{1,64}$`)
	oauthWord  = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
	// tokenText is what an access token may hold (RFC 6750 s2.1).
	tokenText = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
)

// oauthError is the word of an OAuth error (RFC 6749 s5.2), "" if there is none.
func oauthError(body []byte) string {
	var told struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &told) != nil || !oauthWord.MatchString(told.Error) {
		return ""
	}
	return told.Error
}

// readAnswer understands an answer; whatever it cannot read it leaves out. FCM's
// own code tells more than the status of Google's API in general.
func readAnswer(status int, head http.Header, body []byte) answer {
	a := answer{status: status}
	if s, err := strconv.Atoi(head.Get("Retry-After")); err == nil && s > 0 {
		a.retryAfter = time.Duration(min(s, 3600)) * time.Second
	}
	var told struct {
		Error struct {
			Status  string `json:"status"`
			Details []struct {
				ErrorCode       string `json:"errorCode"`
				FieldViolations []struct {
					Field string `json:"field"`
				} `json:"fieldViolations"`
			} `json:"details"`
		} `json:"error"`
	}
	if a.accepted() || json.Unmarshal(body, &told) != nil {
		return a // not FCM, or no reason given: judged by its status
	}
	if reasonWord.MatchString(told.Error.Status) {
		a.reason = push.Reason(told.Error.Status)
	}
	for _, d := range told.Error.Details {
		if reasonWord.MatchString(d.ErrorCode) {
			a.reason = push.Reason(d.ErrorCode)
		}
		for _, v := range d.FieldViolations {
			a.badToken = a.badToken || v.Field == "message.token"
		}
	}
	return a
}

// sendOnce makes one request: no second thoughts.
func (s *sender) sendOnce(ctx context.Context, bearer string, m letter) answer {
	body, err := m.body(time.Now())
	if err != nil {
		return answer{reason: push.Unsendable, detail: err.Error()}
	}
	if err := ctx.Err(); err != nil {
		return answer{reason: push.Ended(err)}
	}
	var whole atomic.Bool
	ctx, release := patient(ctx, &whole, m.stopped)
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, tryTimeout, errSilent)
	defer cancel()
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				m.written.CompareAndSwap(0, time.Now().UnixNano())
				whole.Store(true)
			}
		},
	})
	req, err := http.NewRequestWithContext(traced, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return answer{reason: push.Unsendable, detail: "the address of FCM is not a URL"}
	}
	req.Header.Set("Authorization", "Bearer "+bearer)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.http.RoundTrip(req)
	if err != nil {
		return noAnswer(ctx, err, m)
	}
	m.written.CompareAndSwap(0, time.Now().UnixNano())
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if errors.Join(err, res.Body.Close()) != nil {
		text = nil // the status stands without its reason
	}
	return readAnswer(res.StatusCode, res.Header, text)
}

// errSilent is the cause of a try that ended without an answer in tryTimeout.
var errSilent = errors.New("no answer")

// noAnswer says why nothing came back. A URL in the error would name nothing
// secret, and nothing new: only the cause is kept.
func noAnswer(ctx context.Context, err error, m letter) answer {
	if ended := ctx.Err(); ended != nil && !errors.Is(context.Cause(ctx), errSilent) {
		return answer{reason: push.Ended(ended)}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if m.wroteAt().IsZero() {
		return answer{reason: push.Unreachable, detail: "FCM cannot be reached: " + err.Error()}
	}
	return answer{reason: push.Lost, detail: "the connection to FCM was lost: " + err.Error()}
}
