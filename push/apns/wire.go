package apns

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sideshow/apns2"
	"golang.org/x/net/http2"

	"wakebridge/push"
)

// maxAnswer bounds what is read of an answer's body, in bytes.
const maxAnswer = 4 << 10

// letter is a notification ready for the wire: all tries of a push send the
// same one.
type letter struct {
	notification *apns2.Notification
	expiration   string                 // apns-expiration, UNIX seconds; "0" too
	least        func() ([]byte, error) // the smallest payload; nil: this is it
	written      *atomic.Int64          // when its first request was on the wire, UNIX ns
	stopped      func(hedged bool)      // called once when the push is stopped and heard out
}

// wroteAt is when the first request was on the wire; zero: not known to be.
func (m letter) wroteAt() time.Time {
	if ns := m.written.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

// smaller is the same push with the least payload, or false if it has it.
func (m letter) smaller() (letter, bool) {
	if m.least == nil {
		return m, false
	}
	body, err := m.least()
	if err != nil {
		return m, false
	}
	n := *m.notification
	n.Payload = body
	m.notification, m.least = &n, nil
	return m, true
}

func newLetter(app App, t push.DeviceToken, n push.Notification) (letter, error) {
	body, err := push.Payload(n, app.Payload)
	if err != nil {
		return letter{}, err
	}
	a := &apns2.Notification{
		ApnsID:      n.ID,
		CollapseID:  n.CollapseID,
		DeviceToken: t.Secret(),
		Topic:       app.BundleID,
		Priority:    apns2.PriorityHigh,
		Payload:     body,
		PushType:    apns2.EPushType(n.Kind),
	}
	switch n.Kind {
	case push.VoIP:
		a.Topic += ".voip"
	case push.Background:
		a.Priority = apns2.PriorityLow // the only one that Apple takes for it
	}
	until := int64(0)
	if !n.Expiration.IsZero() {
		until = max(0, n.Expiration.Unix())
	}
	return letter{
		notification: a, expiration: strconv.FormatInt(until, 10), written: new(atomic.Int64),
		least: func() ([]byte, error) { return push.MinimalPayload(n, app.Payload) },
	}, nil
}

// answer is what came back of one request. Without a status nothing did, and
// reason is one of push's own.
type answer struct {
	status int
	reason push.Reason
	since  time.Time // of a 410
	detail string    // in words, where status is 0
	maybe  bool      // status 0, and yet it may have been accepted
}

func (a answer) accepted() bool { return a.status == http.StatusOK }

// exchange travels with one request's context: what the request needs beyond
// apns2, and what apns2 would lose of the answer.
type exchange struct {
	bearer     string // empty: the connection's certificate speaks for us
	expiration string
	answer     answer // written by wire.RoundTrip

	head  atomic.Bool // the request's head is on the wire
	whole atomic.Bool // all of it is
}

type exchangeKey struct{}

// wroteHead says whether the request of ctx may have reached the server.
func wroteHead(ctx context.Context) bool {
	x, ok := ctx.Value(exchangeKey{}).(*exchange)
	return ok && x.head.Load()
}

// wire is the http.RoundTripper under apns2: it sets the headers that apns2
// cannot (apns-expiration 0, our own provider token) and reads the answer
// itself, since apns2 loses the status of a body that is not JSON and the
// milliseconds of a time stamp.
type wire struct{ line *line }

// RoundTrip is http.RoundTripper.
func (w wire) RoundTrip(req *http.Request) (*http.Response, error) {
	x, ok := req.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		return nil, errors.New("request without exchange")
	}
	req = req.Clone(req.Context())
	if x.bearer != "" {
		req.Header.Set("authorization", "bearer "+x.bearer)
	}
	req.Header.Set("apns-expiration", x.expiration)
	res, err := w.line.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if errors.Join(err, res.Body.Close()) != nil {
		body = nil // the status stands without its reason
	}
	x.answer = readAnswer(res.StatusCode, body)
	res.Body = http.NoBody
	return res, nil
}

// reasonWord is the form of Apple's reasons; anything else must not reach a log.
var reasonWord = regexp.MustCompile(`^[A-Za-z0-9]{1,64}$`)

// readAnswer understands an answer; whatever it cannot read it leaves out.
func readAnswer(status int, body []byte) answer {
	a := answer{status: status}
	var told struct {
		Reason    string      `json:"reason"`
		Timestamp json.Number `json:"timestamp"` // ms
	}
	if err := json.Unmarshal(body, &told); err != nil {
		return a // not APNs, or no reason given: judged by its status
	}
	if reasonWord.MatchString(told.Reason) {
		a.reason = push.Reason(told.Reason)
	}
	if ms, err := told.Timestamp.Int64(); err == nil && ms > 0 {
		a.since = time.UnixMilli(ms)
	}
	return a
}

// sendOnce makes one request on l: no second thoughts.
func sendOnce(ctx context.Context, l *line, base string, x *exchange, m letter) answer {
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { x.head.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				m.written.CompareAndSwap(0, time.Now().UnixNano())
				x.whole.Store(true)
			}
		},
	})
	client := apns2.Client{Host: base, HTTPClient: &http.Client{
		Transport:     wire{l},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	_, err := client.PushWithContext(ctx, m.notification)
	if x.answer.status == 0 {
		if x.head.Load() {
			// The rest may be out although nobody has said so yet: a push that was
			// stopped is counted rather once too often than never.
			m.written.CompareAndSwap(0, time.Now().UnixNano())
		}
		return noAnswer(ctx, err, l.life.Err() != nil)
	}
	// The answer may be here before the goroutine that wrote the request got to
	// say so: it was written by now.
	m.written.CompareAndSwap(0, time.Now().UnixNano())
	return x.answer
}

// noAnswer says why nothing came back; closed says that the line is, by us. An error of
// http.Client names the URL, and with it the device token: only its cause is kept.
func noAnswer(ctx context.Context, err error, closed bool) answer {
	if ended := ctx.Err(); ended != nil {
		return answer{reason: push.Ended(ended), maybe: wroteHead(ctx)}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	switch {
	case errors.Is(err, errClosed), closed:
		// Go also says "force closed" of a connection on which another request could not
		// be written; then this one was lost.
		return answer{reason: push.Closed}
	case refusedCertificate(err):
		return answer{reason: push.BrokenCredential, detail: "APNs refused the certificate in the TLS handshake: " + err.Error()}
	case errors.Is(err, errUnreachable):
		return answer{reason: push.Unreachable, detail: "APNs cannot be reached: " + err.Error()}
	}
	return answer{reason: push.Lost, detail: "the connection to APNs was lost: " + err.Error(), maybe: wroteHead(ctx) && !unprocessed(err)}
}

// unprocessed says that a request that was written was not dealt with: RFC 9113 s8.7
// has two proofs, a GOAWAY that names a lower stream and REFUSED_STREAM. A ping without
// an answer is none: the path may be dead towards us only. net/http exports no error for
// a GOAWAY, and has two (setGoAway in its h2_bundle.go); they are taken by their whole
// beginning, for other errors quote what the server says.
func unprocessed(err error) bool {
	var reset http2.StreamError
	if errors.As(err, &reset) {
		return reset.Code == http2.ErrCodeRefusedStream
	}
	text := err.Error()
	return text == "http2: Transport received Server's graceful shutdown GOAWAY" ||
		strings.HasPrefix(text, "http2: Transport received GOAWAY from server ErrCode:")
}

// refusedCertificate says that the server did not like our certificate (RFC
// 8446 s6.2). With TLS 1.3 that comes after the handshake, in place of an
// answer.
func refusedCertificate(err error) bool {
	text := err.Error()
	if !strings.Contains(text, "remote error: tls: ") {
		return false
	}
	for _, alert := range []string{"certificate", "access denied"} {
		if strings.Contains(text, alert) {
			return true
		}
	}
	return false
}
