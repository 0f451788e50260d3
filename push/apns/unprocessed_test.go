package apns_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/net/http2"

	"wakebridge/push"
	"wakebridge/push/apnssim"
)

// TestWhatTheServerSaysItDid: RFC 9113 s8.7 names what proves that a request was not
// processed: a GOAWAY with a lower stream, and REFUSED_STREAM. Such a request costs nothing.
// All else may have been accepted: the push counts as sent twice if it is repeated, and is
// in doubt.
func TestWhatTheServerSaysItDid(t *testing.T) {
	unprocessed := map[string]apnssim.Action{
		"REFUSED_STREAM":                             {Fault: apnssim.Reset, Code: http2.ErrCodeRefusedStream},
		"GOAWAY below the stream":                    {Fault: apnssim.GoAway, Reason: "Shutdown", Unprocessed: true},
		"GOAWAY below the stream, with an error":     {Fault: apnssim.GoAway, Code: http2.ErrCodeEnhanceYourCalm, Unprocessed: true},
		"GOAWAY below the stream, for no own reason": {Fault: apnssim.GoAway, Reason: "client connection lost", Unprocessed: true},
	}
	for name, a := range unprocessed {
		for _, first := range []bool{true, false} { // of its connection: Go has another error for that
			t.Run(name+map[bool]string{true: ", first stream", false: ", later stream"}[first], func(t *testing.T) {
				inWorld(t, nil, func(t *testing.T, w *world) {
					if !first {
						accepted(t, w.sendTo(w.voip, push.Production))
						w.arrived()
					}
					w.fault(apnssim.Match{Times: 1}, a)
					r := w.push()
					accepted(t, r)
					if r.Tries != 2 || r.Hedged || r.Maybe || w.arrived()[pushID] != 1 {
						t.Errorf("%+v", r)
					}
				})
			})
		}
	}
	maybe := map[string]apnssim.Action{
		"INTERNAL_ERROR":        {Fault: apnssim.Reset, Deliver: true},
		"CANCEL":                {Fault: apnssim.Reset, Code: http2.ErrCodeCancel, Deliver: true},
		"PROTOCOL_ERROR":        {Fault: apnssim.Reset, Code: http2.ErrCodeProtocol, Deliver: true},
		"the connection is cut": {Fault: apnssim.Cut, Deliver: true},
	}
	for name, a := range maybe {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				w.fault(apnssim.Match{Times: 1}, a)
				r := w.push()
				accepted(t, r)
				if r.Tries != 2 || !r.Hedged || !r.Maybe || w.arrived()[pushID] != 2 {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// TestNoPingNoProof: a path that is dead towards us only took both requests to APNs. There
// is no third.
func TestNoPingNoProof(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		w.fault(apnssim.Match{}, apnssim.Action{Fault: apnssim.Blackhole, Deliver: true})
		r := w.push()
		if got := w.arrived()[pushID]; got != 2 || r.Outcome != push.NoAnswer || r.Reason != push.Lost || r.Tries != 2 || !r.Hedged || !r.Maybe {
			t.Errorf("the phone got it %d times: %+v", got, r)
		}
	})
}

// TestGoAwayAboveTheStream: the server says that it took the request, and goes without an
// answer. What it writes into its debug data is not an error of ours.
func TestGoAwayAboveTheStream(t *testing.T) {
	for _, words := range []string{"Shutdown", "graceful shutdown GOAWAY", "client connection lost", "force closed"} {
		t.Run(words, func(t *testing.T) {
			inWorld(t, nil, func(t *testing.T, w *world) {
				accepted(t, w.sendTo(w.voip, push.Production)) // streams without limit
				w.arrived()
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.Hang, Deliver: true})
				w.fault(apnssim.Match{Times: 1}, apnssim.Action{Fault: apnssim.GoAway, Reason: words, Grace: 300 * time.Millisecond})
				results := make(chan push.Result, 1)
				go func() { results <- w.push() }()
				synctest.Wait()
				time.Sleep(100 * time.Millisecond)
				accepted(t, w.sender.Send(t.Context(), push.Target{Token: w.voip, Environment: push.Production}, call(uuid.NewString())))
				r := <-results
				accepted(t, r)
				if got := w.arrived()[pushID]; got != 2 || !r.Hedged || !r.Maybe || r.Tries != 2 {
					t.Errorf("the phone got it %d times: %+v", got, r)
				}
			})
		})
	}
}
