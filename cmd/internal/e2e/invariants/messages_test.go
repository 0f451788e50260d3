package invariants

import (
	"encoding/json"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/push/fcm/fcmsim"
)

// sent is a message as fcmsim's journal has it, accepted unless status says another
// thing.
func sent(t *testing.T, seconds float64, token string, data map[string]string) fcmsim.Request {
	t.Helper()
	b, err := json.Marshal(map[string]any{"message": map[string]any{"token": token, "data": data,
		"android": map[string]string{"priority": "HIGH", "ttl": "25s"}}})
	if err != nil {
		t.Fatal(err)
	}
	return fcmsim.Request{At: at(seconds), Body: string(b), Status: 200}
}

func ring(t *testing.T, seconds float64, kind, uuid string) fcmsim.Request {
	t.Helper()
	return sent(t, seconds, "aa", map[string]string{"type": kind, "uuid": uuid, "call_id": uuid + "@n1"})
}

// FCM is promised what APNs is: a doctored journal is noticed.
func TestMessages(t *testing.T) {
	const stranger = "5f0f5b1c-0000-4000-8000-000000000002"
	ok, cancel := ring(t, 1, "call", id), ring(t, 10.01, "cancel", id)
	refused := func(r fcmsim.Request) fcmsim.Request {
		r.Status = 503
		return r
	}
	once, hedge := bridge.PushRecord{Kind: "voip", Accepted: true}, bridge.PushRecord{Kind: "voip", Accepted: true, Hedged: true}
	const noHedge, none = "2 FCM messages were accepted", "that none announced"
	for name, c := range map[string]struct {
		journal []fcmsim.Request
		push    bridge.PushRecord
		want    string
	}{
		"one":                        {[]fcmsim.Request{ok}, once, ""},
		"one behind a refusal":       {[]fcmsim.Request{refused(ok), ok}, once, ""},
		"two without a hedge":        {[]fcmsim.Request{ok, ok}, once, noHedge},
		"two, counted":               {[]fcmsim.Request{ok, ok}, hedge, ""},
		"three":                      {[]fcmsim.Request{ok, ok, ok}, hedge, "3 FCM messages were accepted"},
		"of no call":                 {[]fcmsim.Request{ring(t, 1, "call", stranger)}, once, "which no call has"},
		"refused, and of no call":    {[]fcmsim.Request{refused(ring(t, 1, "call", stranger))}, once, "which no call has"},
		"not in the record":          {[]fcmsim.Request{ok}, bridge.PushRecord{}, "has no push"},
		"after the end":              {[]fcmsim.Request{ring(t, 11, "call", id)}, once, "lasted from"},
		"before the beginning":       {[]fcmsim.Request{ring(t, -1, "call", id)}, once, "lasted from"},
		"another token":              {[]fcmsim.Request{ok, refused(sent(t, 2, "bb", map[string]string{"type": "call", "uuid": id, "call_id": id + "@n1"}))}, once, "two FCM tokens"},
		"another Call-ID":            {[]fcmsim.Request{sent(t, 1, "aa", map[string]string{"type": "call", "uuid": id, "call_id": stranger + "@n1"})}, once, "and Call-ID"},
		"of an unknown type":         {[]fcmsim.Request{ring(t, 1, "missed", id)}, once, `type "missed"`},
		"no JSON":                    {[]fcmsim.Request{{At: at(1), Body: "{", Status: 200}}, once, "its body is not one"},
		"a refresh":                  {[]fcmsim.Request{sent(t, 1, "aa", map[string]string{"type": "refresh", "to": "alice"})}, once, ""},
		"a refresh for a call":       {[]fcmsim.Request{ring(t, 1, "refresh", id)}, once, `type "refresh"`},
		"taken back":                 {[]fcmsim.Request{ok, cancel}, once, ""},
		"the journal has its order":  {[]fcmsim.Request{cancel, ok}, once, ""},
		"taken back thrice":          {[]fcmsim.Request{ok, cancel, cancel, cancel}, once, "3 FCM messages took the call back"},
		"taken back out of the blue": {[]fcmsim.Request{cancel}, once, none},
		"taken back before":          {[]fcmsim.Request{ring(t, 0.5, "cancel", id), ok}, once, none},
	} {
		r := record()
		if c.push.Kind != "" {
			r.Attempts[0].Pushes = []bridge.PushRecord{c.push}
		}
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		o.Google(c.journal)
		check(t, name, o.Check(nil), c.want)
	}
}

// Who answered is not told that the call is gone.
func TestCancelForTheAnswerer(t *testing.T) {
	r := record()
	r.Result, r.Status, r.Answered = bridge.Answered, 200, at(5)
	r.Attempts[0].Answered, r.Attempts[0].Pushes = at(5), []bridge.PushRecord{{Kind: "voip", Accepted: true}}
	o := New(Limits{Ring: 50 * time.Second})
	o.Recorded(r)
	o.Google([]fcmsim.Request{ring(t, 1, "call", id), ring(t, 6, "cancel", id)})
	check(t, "cancel", o.Check(nil), "that the device answered")
}

// An operator's test is of no call.
func TestMessageOfATest(t *testing.T) {
	o := New(Limits{Ring: 50 * time.Second})
	o.Tests(id)
	o.Google([]fcmsim.Request{ring(t, 1, "call", id)})
	check(t, "test", o.Check(nil), "")
}
