package apns

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/sideshow/apns2"

	"wakebridge/push"
)

// TestEveryReasonHasItsAction pins the table: a reason that lost its row would
// quietly be judged by its status.
func TestEveryReasonHasItsAction(t *testing.T) {
	t.Parallel()
	type row struct {
		do    action
		blame blame
	}
	want := map[push.Reason]row{
		apns2.ReasonBadDeviceToken:              {otherEnvironment, nobody},
		"BadEnvironmentKeyInToken":              {otherEnvironment, credential},
		apns2.ReasonBadCertificateEnvironment:   {otherEnvironment, credential},
		push.BrokenCredential:                   {otherEnvironment, credential},
		apns2.ReasonUnregistered:                {tokenDead, nobody},
		apns2.ReasonExpiredToken:                {tokenDead, nobody},
		apns2.ReasonExpiredProviderToken:        {renewToken, nobody},
		apns2.ReasonTooManyProviderTokenUpdates: {keepToken, nobody},
		apns2.ReasonPayloadTooLarge:             {shrink, ours},
		apns2.ReasonIdleTimeout:                 {tryAgainNow, nobody},
		apns2.ReasonShutdown:                    {tryAgainNow, nobody},
		apns2.ReasonInternalServerError:         {tryAgain, nobody},
		apns2.ReasonServiceUnavailable:          {tryAgain, nobody},
		apns2.ReasonTooManyRequests:             {giveUp, nobody},
		apns2.ReasonBadCollapseID:               {giveUp, ours},
		apns2.ReasonBadExpirationDate:           {giveUp, ours},
		apns2.ReasonBadMessageID:                {giveUp, ours},
		apns2.ReasonBadPriority:                 {giveUp, ours},
		apns2.ReasonBadTopic:                    {giveUp, ours},
		apns2.ReasonDeviceTokenNotForTopic:      {giveUp, ours},
		apns2.ReasonDuplicateHeaders:            {giveUp, ours},
		apns2.ReasonInvalidPushType:             {giveUp, ours},
		apns2.ReasonMissingDeviceToken:          {giveUp, ours},
		apns2.ReasonMissingTopic:                {giveUp, ours},
		apns2.ReasonPayloadEmpty:                {giveUp, ours},
		apns2.ReasonBadPath:                     {giveUp, ours},
		apns2.ReasonMethodNotAllowed:            {giveUp, ours},
		apns2.ReasonTopicDisallowed:             {giveUp, topic},
		apns2.ReasonBadCertificate:              {giveUp, credential},
		apns2.ReasonForbidden:                   {giveUp, credential},
		apns2.ReasonInvalidProviderToken:        {giveUp, credential},
		apns2.ReasonMissingProviderToken:        {giveUp, credential},
		push.Unreachable:                        {tryAgain, nobody},
		push.Lost:                               {tryAgainNow, nobody},
	}
	for reason, r := range want {
		if got, ok := rules[reason]; !ok || got.do != r.do || got.blame != r.blame {
			t.Errorf("%s: action %d, blame %d (in the table: %v), want %+v", reason, got.do, got.blame, ok, r)
		}
	}
	if len(rules) != len(want) {
		t.Errorf("%d reasons in the table, %d known here", len(rules), len(want))
	}
	for _, own := range []push.Reason{push.Deadline, push.Stopped, push.Closed} {
		if got := ruleFor(0, own); got.do != giveUp || got.blame != nobody {
			t.Errorf("%s: action %d", own, got.do)
		}
	}
	for status, r := range map[int]row{400: {giveUp, ours}, 403: {giveUp, ours}, 404: {giveUp, ours}, 410: {tokenDead, nobody},
		413: {shrink, ours}, 429: {giveUp, nobody}, 500: {tryAgain, nobody}, 502: {giveUp, nobody}, 503: {tryAgain, nobody}} {
		if got := ruleFor(status, "NewIn2030"); got.do != r.do || got.blame != r.blame || got.what == "" {
			t.Errorf("unknown reason with %d: %+v", status, got)
		}
	}
}

func TestEffort(t *testing.T) {
	t.Parallel()
	yes, no := func(action) bool { return true }, func(action) bool { return false }
	type step struct {
		do    action
		mend  func(action) bool
		again bool
		pause bool
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"final at once", []step{{giveUp, yes, false, false}}},
		{"dead at once", []step{{tokenDead, yes, false, false}}},
		{"not ours to decide", []step{{otherEnvironment, yes, false, false}}},
		{"three tries", []step{{tryAgain, yes, true, true}, {tryAgain, yes, true, true}, {tryAgain, yes, false, false}}},
		{"only the first at once", []step{{tryAgainNow, yes, true, false}, {tryAgainNow, yes, true, true}, {tryAgainNow, yes, false, false}}},
		{"renewed once", []step{{renewToken, yes, true, false}, {renewToken, yes, false, false}}},
		{"each thing mended once", []step{{shrink, yes, true, false}, {keepToken, yes, true, false}, {renewToken, yes, true, false}, {shrink, yes, false, false}}},
		{"cannot be mended", []step{{shrink, no, false, false}}},
		{"renewal refused", []step{{renewToken, no, false, false}}},
		{"a renewal is no try", []step{{tryAgain, yes, true, true}, {renewToken, yes, true, false}, {tryAgain, yes, true, true}, {tryAgain, yes, false, false}}},
	}
	for _, tt := range tests {
		var e effort
		for i, s := range tt.steps {
			again, pause := e.after(s.do, s.mend)
			if again != s.again || (pause > 0) != s.pause || pause > 300*time.Millisecond || s.pause && pause < 100*time.Millisecond {
				t.Errorf("%s, step %d: again %v, pause %v", tt.name, i+1, again, pause)
			}
		}
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	out := func(env push.Environment, o push.Outcome, reason push.Reason, next action) outcome {
		return outcome{Result: push.Result{Outcome: o, Reason: reason, Environment: env}, next: next}
	}
	bad := out(push.Production, push.Refused, badDeviceToken, otherEnvironment)
	badToo := out(push.Sandbox, push.Refused, badDeviceToken, otherEnvironment)
	tests := []struct {
		name        string
		first, last outcome
		envs        int
		want        outcome
	}{
		{"known environment", bad, bad, 1, out(push.Production, push.Refused, badDeviceToken, tokenDead)},
		{"both", bad, badToo, 2, out(push.Sandbox, push.Refused, badDeviceToken, tokenDead)},
		{"the other took it", bad, out(push.Sandbox, push.Accepted, "", giveUp), 2, out(push.Sandbox, push.Accepted, "", giveUp)},
		{"the other knew it once", bad, out(push.Sandbox, push.Refused, "Unregistered", tokenDead), 2, out(push.Sandbox, push.Refused, "Unregistered", tokenDead)},
		{"the other is silent", bad, out(push.Sandbox, push.NoAnswer, push.Deadline, giveUp), 2, bad},
		{"the key is not for the other", bad, out(push.Sandbox, push.Refused, "BadEnvironmentKeyInToken", otherEnvironment), 2, bad},
		{"the key is not for the first", out(push.Production, push.Refused, "BadEnvironmentKeyInToken", otherEnvironment), badToo, 2, badToo},
		{"something else", out(push.Production, push.Refused, "BadTopic", giveUp), out(push.Production, push.Refused, "BadTopic", giveUp), 2, out(push.Production, push.Refused, "BadTopic", giveUp)},
	}
	for _, tt := range tests {
		got := verdict(tt.first, tt.last, tt.envs)
		got.Text = ""
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestTheServicesWordCountsMoreThanSilence(t *testing.T) {
	t.Parallel()
	busy := answer{status: 503, reason: "ServiceUnavailable"}
	shut := answer{status: 503, reason: "Shutdown"}
	lost := answer{reason: push.Lost}
	tests := []struct{ old, now, want answer }{
		{answer{}, lost, lost},
		{answer{}, busy, busy},
		{busy, lost, busy},
		{lost, busy, busy},
		{busy, shut, shut},
		{lost, answer{reason: push.Deadline}, answer{reason: push.Deadline}},
	}
	for _, tt := range tests {
		if got := better(tt.old, tt.now); got != tt.want {
			t.Errorf("%+v, then %+v: got %+v", tt.old, tt.now, got)
		}
	}
}

// TestForceClosed: Go closes a connection by force on which a request cannot be written,
// too: what else was under way there is lost, and no push is given up for it.
func TestForceClosed(t *testing.T) {
	t.Parallel()
	err := errors.New("http2: client connection force closed via ClientConn.Close")
	x := &exchange{}
	ctx := context.WithValue(t.Context(), exchangeKey{}, x)
	for _, written := range []bool{false, true} {
		x.head.Store(written)
		if a := noAnswer(ctx, err, false); a.reason != push.Lost || a.maybe != written || settled(a) {
			t.Errorf("written %t: %+v", written, a)
		}
		if a := noAnswer(ctx, err, true); a.reason != push.Closed || !settled(a) {
			t.Errorf("closed by us: %+v", a)
		}
	}
}

func TestRedialPause(t *testing.T) {
	t.Parallel()
	for failures := range 100 {
		least, most := 100*time.Millisecond, 300*time.Millisecond
		if failures > 0 {
			least = min(redialMax, redialMin<<min(failures-1, 10))
			most = least + least/2
		}
		for range 20 {
			if got := redialPause(failures); got < least || got > most {
				t.Fatalf("after %d failures %v, want %v to %v", failures, got, least, most)
			}
		}
	}
}

func TestProviderTokenAndTheClock(t *testing.T) {
	t.Parallel()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	token := &providerToken{team: "ABCDE12345", key: Key{ID: "KEY1234567", private: private}, counted: func() { made++ }}
	use := func(want int, when string) string {
		t.Helper()
		bearer, err := token.current()
		if err != nil || made != want {
			t.Fatalf("%s: %d tokens made, want %d; %v", when, made, want, err)
		}
		return bearer
	}
	use(1, "at first")
	old := use(1, "again")
	token.made = token.made.Add(30 * time.Second) // the clock stepped back a little
	use(1, "after a small step back")
	token.made = token.made.Add(time.Hour) // and a lot: Apple would see the future
	use(2, "after a large step back")
	token.made = token.made.Add(-time.Hour) // a night in a suspended machine
	use(3, "after a suspend")
	token.bearer = "a newer one"
	if ok, err := token.renew(old); !ok || err != nil || made != 3 {
		t.Errorf("a token renewed meanwhile was renewed again: %d made, %v", made, err)
	}

	broken := &providerToken{team: "T", key: Key{ID: "K"}, counted: func() {}}
	if _, err := broken.current(); err == nil || errors.Unwrap(err) == nil {
		t.Errorf("a key that cannot sign: %v", err)
	}
}

func TestKeyFor(t *testing.T) {
	t.Parallel()
	both, sandbox := Key{ID: "both"}, Key{ID: "sandbox", Environment: push.Sandbox}
	tests := []struct {
		keys []Key
		env  push.Environment
		want string
	}{
		{[]Key{both, sandbox}, push.Production, "both"},
		{[]Key{both, sandbox}, push.Sandbox, "sandbox"},
		{[]Key{sandbox}, push.Production, ""},
		{[]Key{{ID: "a"}, {ID: "b", Environment: push.Auto}}, push.Sandbox, "a"},
		{nil, push.Sandbox, ""},
	}
	for _, tt := range tests {
		if got, ok := keyFor(tt.keys, tt.env); got.ID != tt.want || ok != (tt.want != "") {
			t.Errorf("%v in %s: %v, %v", tt.keys, tt.env, got, ok)
		}
	}
}

func TestAddress(t *testing.T) {
	t.Parallel()
	tests := map[string][2]string{
		"https://api.push.apple.com":      {"https://api.push.apple.com", "api.push.apple.com:443"},
		"https://api.push.apple.com:2197": {"https://api.push.apple.com:2197", "api.push.apple.com:2197"},
		"https://127.0.0.1:8443/":         {"https://127.0.0.1:8443", "127.0.0.1:8443"},
		"https://[::1]:8443":              {"https://[::1]:8443", "[::1]:8443"},
		"api.push.apple.com":              {},
		"http://api.push.apple.com":       {},
		"https://":                        {},
		"https://host/3/device":           {},
		"https://host?x=y":                {},
		"https://%zz":                     {},
	}
	for in, want := range tests {
		base := in
		addr, err := address(&base)
		if (err == nil) != (want[0] != "") || err == nil && (base != want[0] || addr != want[1]) {
			t.Errorf("%s: %s, %s, %v", in, base, addr, err)
		}
	}
}

// FuzzReadAnswer: whatever a server says, an answer keeps its status, and its
// reason is a word.
func FuzzReadAnswer(f *testing.F) {
	f.Add(410, []byte(`{"reason":"Unregistered","timestamp":1700000000123}`))
	f.Add(400, []byte(`{"reason":"BadDeviceToken"}`))
	f.Add(503, []byte(`<html>`))
	f.Add(200, []byte(`{"reason":{},"timestamp":1e400}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a := readAnswer(status, body)
		if a.status != status || a.reason != "" && !reasonWord.MatchString(string(a.reason)) || !a.since.IsZero() && a.since.UnixMilli() <= 0 {
			t.Errorf("%+v", a)
		}
	})
}
