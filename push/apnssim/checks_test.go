package apnssim_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"wakebridge/push/apnssim"
)

func set(name, value string) func(*bench, *http.Request) {
	return func(_ *bench, r *http.Request) { r.Header.Set(name, value) }
}

func del(name string) func(*bench, *http.Request) {
	return func(_ *bench, r *http.Request) { r.Header.Del(name) }
}

func path(p string) func(*bench, *http.Request) {
	return func(_ *bench, r *http.Request) { r.URL.Path = p }
}

func sends(p string) func(*bench, *http.Request) {
	return func(_ *bench, r *http.Request) { body(r, p) }
}

// ordinary turns the push into an alert push to the device's alert token.
func ordinary(pushType string, more ...func(*bench, *http.Request)) func(*bench, *http.Request) {
	return func(b *bench, r *http.Request) {
		r.URL.Path = "/3/device/" + b.alert
		r.Header.Set("apns-topic", bundle)
		r.Header.Set("apns-push-type", pushType)
		for _, f := range more {
			f(b, r)
		}
	}
}

// object is a JSON object of exactly size bytes.
func object(size int) string {
	const frame = `{"p":""}`
	return `{"p":"` + strings.Repeat("x", size-len(frame)) + `"}`
}

func TestChecks(t *testing.T) {
	for _, tc := range []struct {
		name   string
		spoil  func(*bench, *http.Request)
		status int
		reason string
	}{
		{"good", func(*bench, *http.Request) {}, 200, ""},
		{"get", func(_ *bench, r *http.Request) { r.Method = "GET"; r.Body = nil; r.ContentLength = 0 }, 405, "MethodNotAllowed"},
		{"put", func(_ *bench, r *http.Request) { r.Method = "PUT" }, 405, "MethodNotAllowed"},
		{"other path", path("/4/device/00"), 404, "BadPath"},
		{"root", path("/"), 404, "BadPath"},
		{"path with more", func(b *bench, r *http.Request) { r.URL.Path = "/3/device/" + b.voip + "/x" }, 404, "BadPath"},
		{"query", func(b *bench, r *http.Request) { r.URL.RawQuery = "a=b" }, 404, "BadPath"},
		{"no token", path("/3/device/"), 400, "MissingDeviceToken"},
		{"no token, no slash", path("/3/device"), 400, "MissingDeviceToken"},
		{"topic twice", func(_ *bench, r *http.Request) { r.Header.Add("apns-topic", bundle) }, 400, "DuplicateHeaders"},
		{"authorization twice", func(b *bench, r *http.Request) { r.Header.Add("authorization", "bearer x") }, 400, "DuplicateHeaders"},
		{"apns-id empty", set("apns-id", ""), 400, "BadMessageId"},
		{"apns-id no uuid", set("apns-id", "42"), 400, "BadMessageId"},
		{"apns-id without hyphens", set("apns-id", "123e4567e89b12d3a4564266554400a0"), 400, "BadMessageId"},
		{"apns-id in braces", set("apns-id", "{123e4567-e89b-12d3-a456-4266554400a0}"), 400, "BadMessageId"},
		{"no topic", del("apns-topic"), 400, "MissingTopic"},
		{"unknown topic", set("apns-topic", "com.example.nobody.voip"), 400, "BadTopic"},
		{"other team's topic", set("apns-topic", "com.example.foreign.voip"), 400, "TopicDisallowed"},
		{"no push type", del("apns-push-type"), 400, "InvalidPushType"},
		{"unknown push type", set("apns-push-type", "VOIP"), 400, "InvalidPushType"},
		{"alert to .voip", set("apns-push-type", "alert"), 400, "InvalidPushType"},
		{"voip to plain topic", set("apns-topic", bundle), 400, "DeviceTokenNotForTopic"},
		{"pushtotalk topic", func(_ *bench, r *http.Request) {
			r.Header.Set("apns-topic", bundle+".voip-ptt")
			r.Header.Set("apns-push-type", "pushtotalk")
		}, 400, "DeviceTokenNotForTopic"},
		{"alert token to .voip", func(b *bench, r *http.Request) { r.URL.Path = "/3/device/" + b.alert }, 400, "DeviceTokenNotForTopic"},
		{"voip token to plain", func(b *bench, r *http.Request) {
			ordinary("alert")(b, r)
			r.URL.Path = "/3/device/" + b.voip
		}, 400, "DeviceTokenNotForTopic"},
		{"priority absent", del("apns-priority"), 200, ""},
		{"priority 5", set("apns-priority", "5"), 200, ""},
		{"priority 1", set("apns-priority", "1"), 200, ""},
		{"priority 7", set("apns-priority", "7"), 400, "BadPriority"},
		{"priority empty", set("apns-priority", ""), 400, "BadPriority"},
		{"background 10", ordinary("background", set("apns-priority", "10")), 400, "BadPriority"},
		{"background default", ordinary("background", del("apns-priority")), 400, "BadPriority"},
		{"background 5", ordinary("background", set("apns-priority", "5")), 200, ""},
		{"alert", ordinary("alert"), 200, ""},
		{"expiration absent", del("apns-expiration"), 200, ""},
		{"expiration text", set("apns-expiration", "soon"), 400, "BadExpirationDate"},
		{"expiration empty", set("apns-expiration", ""), 400, "BadExpirationDate"},
		{"expiration negative", set("apns-expiration", "-1"), 400, "BadExpirationDate"},
		{"expiration fraction", set("apns-expiration", "1.5"), 400, "BadExpirationDate"},
		{"expiration huge", set("apns-expiration", "18446744073709551615"), 400, "BadExpirationDate"},
		{"collapse id 64", set("apns-collapse-id", strings.Repeat("c", 64)), 200, ""},
		{"collapse id 65", set("apns-collapse-id", strings.Repeat("c", 65)), 400, "BadCollapseId"},
		{"token unknown", path("/3/device/" + strings.Repeat("ab", 32)), 400, "BadDeviceToken"},
		{"token not hex", path("/3/device/zz"), 400, "BadDeviceToken"},
		{"token of the sandbox", func(b *bench, r *http.Request) {
			must(b.t, b.device.UseEnvironment(apnssim.Sandbox))
			r.URL.Path = "/3/device/" + b.device.RegisterVoIP(bundle)
		}, 400, "BadDeviceToken"},
		{"token in capitals", func(b *bench, r *http.Request) { r.URL.Path = "/3/device/" + strings.ToUpper(b.voip) }, 200, ""},
		{"empty body", sends(""), 400, "PayloadEmpty"},
		{"not JSON", sends("{"), 400, "PayloadEmpty"},
		{"array", sends("[]"), 400, "PayloadEmpty"},
		{"null", sends("null"), 400, "PayloadEmpty"},
		{"voip 5120", sends(object(5120)), 200, ""},
		{"voip 5121", sends(object(5121)), 413, "PayloadTooLarge"},
		{"voip 200 KB", sends(object(200_000)), 413, "PayloadTooLarge"},
		{"alert 4096", ordinary("alert", sends(object(4096))), 200, ""},
		{"alert 4097", ordinary("alert", sends(object(4097))), 413, "PayloadTooLarge"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, apnssim.Config{})
			must(t, b.AddTeam("FOREIGN123", "com.example.foreign"))
			res := b.push(b.client(apnssim.Production), func(r *http.Request) { tc.spoil(b, r) })
			if res.status != tc.status || res.Reason != tc.reason {
				t.Errorf("answer %d %q, want %d %q", res.status, res.Reason, tc.status, tc.reason)
			}
			if len(res.header.Get("apns-id")) != 36 {
				t.Errorf("apns-id %q", res.header.Get("apns-id"))
			}
			if tc.status == 200 {
				next(t, b.device)
			}
			e := b.Requests(apnssim.Filter{Status: tc.status, Reason: tc.reason})
			if len(e) != 1 || e[0].AnsweredAt.IsZero() || e[0].APNsID != res.header.Get("apns-id") {
				t.Errorf("journal %+v", e)
			}
		})
	}
}

func TestProviderTokenChecks(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	jwt := func(change func(header, claims map[string]any)) func(*bench) string {
		return func(b *bench) string {
			header := map[string]any{"alg": "ES256", "kid": keyID}
			claims := map[string]any{"iss": team, "iat": now.Unix()}
			change(header, claims)
			return "bearer " + sign(b.t, b.key, header, claims)
		}
	}
	iat := func(at time.Time) func(*bench) string { return func(b *bench) string { return b.bearer(at) } }
	text := func(s string) func(*bench) string { return func(*bench) string { return s } }
	for _, tc := range []struct {
		name   string
		auth   func(*bench) string
		status int
		reason string
	}{
		{"good", iat(now), 200, ""},
		{"capital scheme", func(b *bench) string { return "B" + b.bearer(now)[1:] }, 200, ""},
		{"type header", jwt(func(h, _ map[string]any) { h["typ"] = "JWT" }), 200, ""},
		{"59 minutes old", iat(now.Add(-59 * time.Minute)), 200, ""},
		{"an hour old", iat(now.Add(-time.Hour)), 200, ""},
		{"61 minutes old", iat(now.Add(-61 * time.Minute)), 403, "ExpiredProviderToken"},
		{"a minute ahead", iat(now.Add(time.Minute)), 200, ""},
		{"two minutes ahead", iat(now.Add(2 * time.Minute)), 403, "InvalidProviderToken"},
		{"absent", nil, 403, "MissingProviderToken"},
		{"empty", text(""), 403, "MissingProviderToken"},
		{"empty bearer", text("bearer "), 403, "MissingProviderToken"},
		{"basic", func(b *bench) string { return "basic" + strings.TrimPrefix(b.bearer(now), "bearer") }, 403, "InvalidProviderToken"},
		{"not a JWT", text("bearer abc"), 403, "InvalidProviderToken"},
		{"dots only", text("bearer .."), 403, "InvalidProviderToken"},
		{"four parts", func(b *bench) string { return b.bearer(now) + ".x" }, 403, "InvalidProviderToken"},
		{"alg none", jwt(func(h, _ map[string]any) { h["alg"] = "none" }), 403, "InvalidProviderToken"},
		{"alg HS256", jwt(func(h, _ map[string]any) { h["alg"] = "HS256" }), 403, "InvalidProviderToken"},
		{"no kid", jwt(func(h, _ map[string]any) { delete(h, "kid") }), 403, "InvalidProviderToken"},
		{"unknown kid", jwt(func(h, _ map[string]any) { h["kid"] = "KEY7654321" }), 403, "InvalidProviderToken"},
		{"other iss", jwt(func(_, c map[string]any) { c["iss"] = "FOREIGN123" }), 403, "InvalidProviderToken"},
		{"no iat", jwt(func(_, c map[string]any) { delete(c, "iat") }), 403, "InvalidProviderToken"},
		{"iat text", jwt(func(_, c map[string]any) { c["iat"] = "now" }), 403, "InvalidProviderToken"},
		{"iat fraction", jwt(func(_, c map[string]any) { c["iat"] = 1.5 }), 403, "InvalidProviderToken"},
		{"signed by another key", func(b *bench) string {
			b.key = stranger
			return b.bearer(now)
		}, 403, "InvalidProviderToken"},
		{"signature of other claims", func(b *bench) string {
			a, c := b.bearer(now), b.bearer(now.Add(-time.Second))
			return a[:strings.LastIndex(a, ".")] + c[strings.LastIndex(c, "."):]
		}, 403, "InvalidProviderToken"},
		{"signature cut", func(b *bench) string { s := b.bearer(now); return s[:len(s)-4] }, 403, "InvalidProviderToken"},
		{"revoked", func(b *bench) string { b.RemoveKey(keyID); return b.bearer(now) }, 403, "InvalidProviderToken"},
		{"sandbox key", func(b *bench) string {
			must(b.t, b.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: &b.key.PublicKey, Environment: apnssim.Sandbox}))
			return b.bearer(now)
		}, 403, "BadEnvironmentKeyInToken"},
		{"key of another app", func(b *bench) string {
			must(b.t, b.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: &b.key.PublicKey, Topics: []string{"com.example.tablet"}}))
			return b.bearer(now)
		}, 400, "TopicDisallowed"},
		{"key of this app", func(b *bench) string {
			must(b.t, b.PutKey(apnssim.Key{ID: keyID, TeamID: team, Public: &b.key.PublicKey, Topics: []string{bundle}}))
			return b.bearer(now)
		}, 200, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, apnssim.Config{Now: func() time.Time { return now }})
			res := b.push(b.client(apnssim.Production), func(r *http.Request) {
				r.Header.Del("authorization")
				if tc.auth != nil {
					r.Header.Set("authorization", tc.auth(b))
				}
			})
			if res.status != tc.status || res.Reason != tc.reason {
				t.Errorf("answer %d %q, want %d %q", res.status, res.Reason, tc.status, tc.reason)
			}
		})
	}
}

func TestOneTeamPerConnection(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	must(t, b.AddTeam("SECOND1234", "com.example.second"))
	other := newKey(t, b.Sim, "SECOND1234", "KEYSECOND1")
	foreign := func(r *http.Request) {
		r.Header.Set("authorization", "bearer "+sign(t, other,
			map[string]any{"alg": "ES256", "kid": "KEYSECOND1"},
			map[string]any{"iss": "SECOND1234", "iat": b.now().Unix()}))
		r.Header.Set("apns-topic", "com.example.second.voip")
		r.URL.Path = "/3/device/" + b.device.RegisterVoIP("com.example.second")
	}
	c := b.client(apnssim.Production)
	if res := b.push(c, nil); res.status != 200 {
		t.Fatalf("first team: %+v", res)
	}
	if res := b.push(c, foreign); res.status != 403 || res.Reason != "InvalidProviderToken" {
		t.Errorf("second team on the same connection: %+v", res)
	}
	if res := b.push(b.client(apnssim.Production), foreign); res.status != 200 {
		t.Errorf("second team on its own connection: %+v", res)
	}
}

func TestTooManyProviderTokenUpdates(t *testing.T) {
	clock := newClock()
	b := newBench(t, apnssim.Config{Now: clock.now})
	c := b.client(apnssim.Production)
	try := func(iat time.Time) int {
		return b.push(c, func(r *http.Request) { r.Header.Set("authorization", b.bearer(iat)) }).status
	}
	first := clock.now()
	for step, want := range []struct {
		iat    time.Time
		status int
	}{
		{first, 200}, {first, 200}, // the same iat again is no update
		{first.Add(-time.Minute), 200},
		{first.Add(-2 * time.Minute), 429},
		{first.Add(-2 * time.Minute), 429}, // a refused one does not get in by repetition
		{first, 200},                       // the old one stays good
	} {
		if got := try(want.iat); got != want.status {
			t.Errorf("step %d: %d, want %d", step, got, want.status)
		}
	}
	clock.advance(20 * time.Minute)
	if got := try(clock.now()); got != 200 {
		t.Errorf("after 20 minutes: %d", got)
	}
}

func TestTooManyRequestsPerToken(t *testing.T) {
	clock := newClock()
	b := newBench(t, apnssim.Config{Now: clock.now, Limits: apnssim.Limits{PushBurst: 3, PushRate: 1}})
	c := b.client(apnssim.Production)
	for i := range 3 {
		if res := b.push(c, nil); res.status != 200 {
			t.Fatalf("push %d: %+v", i, res)
		}
	}
	if res := b.push(c, nil); res.status != 429 || res.Reason != "TooManyRequests" {
		t.Errorf("fourth push: %+v", res)
	}
	if res := b.push(c, func(r *http.Request) { ordinary("alert")(b, r) }); res.status != 200 {
		t.Errorf("the other token suffers: %+v", res)
	}
	clock.advance(time.Second)
	if res := b.push(c, nil); res.status != 200 {
		t.Errorf("a second later: %+v", res)
	}
}

func TestRegistryErrors(t *testing.T) {
	b := newBench(t, apnssim.Config{})
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	for _, tc := range []struct {
		name string
		err  error
		want error
	}{
		{"short team", b.AddTeam("SHORT"), apnssim.ErrBadIdentifier},
		{"lower-case team", b.AddTeam("abcde12345"), apnssim.ErrBadIdentifier},
		{"key id", b.AddKey(team, "x", &b.key.PublicKey), apnssim.ErrBadIdentifier},
		{"nil key", b.AddKey(team, "KEY0000000", nil), apnssim.ErrBadKey},
		{"P-384", b.AddKey(team, "KEY0000000", &p384.PublicKey), apnssim.ErrBadKey},
		{"key of another team", b.AddKey("SECOND1234", keyID, &b.key.PublicKey), apnssim.ErrKeyTaken},
		{"bundle", b.AddApp(team, "no spaces"), apnssim.ErrBadIdentifier},
		{"no bundle", b.AddApp(team, ""), apnssim.ErrBadIdentifier},
		{"app of nobody", b.AddApp("NOBODY1234", "com.example.x"), apnssim.ErrUnknownTeam},
		{"app of another team", b.AddTeam("THIRD12345", bundle), apnssim.ErrAppTaken},
		{"environment", b.device.UseEnvironment("moon"), apnssim.ErrBadIdentifier},
		{"unknown token", b.SetTokenState("00", apnssim.Active, time.Time{}), apnssim.ErrUnknownToken},
		{"unknown state", b.SetTokenState(b.voip, "asleep", time.Time{}), apnssim.ErrBadIdentifier},
		{"again", b.AddTeam(team, bundle), nil},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, tc.err, tc.want)
		}
	}
	if _, err := apnssim.New(apnssim.Config{}); !errors.Is(err, apnssim.ErrNoListener) {
		t.Errorf("no listener: %v", err)
	}
}
