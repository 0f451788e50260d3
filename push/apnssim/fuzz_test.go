package apnssim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"
)

const (
	fuzzTeam   = "ABCDE12345"
	fuzzKey    = "KEY1234567"
	fuzzBundle = "com.example.phone"
)

// detached is a simulator without listeners, for what needs no network.
func detached(t testing.TB, now func() time.Time) (*Sim, *Device) {
	t.Helper()
	limits := Limits{PushBurst: 1 << 20}.withDefaults()
	authority, err := newAuthority([]string{"localhost"})
	if err != nil {
		t.Fatal(err)
	}
	s := &Sim{
		cfg:       Config{Limits: limits, Now: now, Log: slog.New(slog.DiscardHandler)},
		authority: authority,
		registry:  newRegistry(limits),
		faults:    newFaults(1),
		journal:   newJournal(1024),
		courier:   newCourier(),
		network:   newNetwork(Network{}, 0),
		conns:     make(map[*conn]struct{}),
		done:      make(chan struct{}),
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AddKey(fuzzTeam, fuzzKey, &key.PublicKey); err != nil {
		t.Fatal(err)
	}
	if err := s.AddApp(fuzzTeam, fuzzBundle); err != nil {
		t.Fatal(err)
	}
	return s, s.NewDevice("iphone")
}

// reasons that the checks may give, by status.
var reasons = map[int][]string{
	200: {""},
	400: {"MissingDeviceToken", "DuplicateHeaders", "BadMessageId", "MissingTopic", "BadTopic", "TopicDisallowed", "InvalidPushType", "BadPriority",
		"BadExpirationDate", "BadCollapseId", "BadDeviceToken", "DeviceTokenNotForTopic", "PayloadEmpty"},
	403: {"MissingProviderToken", "InvalidProviderToken", "BadEnvironmentKeyInToken", "ExpiredProviderToken"},
	404: {"BadPath"}, 405: {"MethodNotAllowed"}, 410: {"Unregistered", "ExpiredToken"},
	413: {"PayloadTooLarge"}, 429: {"TooManyProviderTokenUpdates", "TooManyRequests"},
}

// FuzzChecks feeds the checks behind authentication as well: the provider is
// taken for granted there.
func FuzzChecks(f *testing.F) {
	f.Add("POST", "/3/device/TOKEN", "apns-topic: com.example.phone.voip\napns-push-type: voip\napns-priority: 10\napns-expiration: 0", []byte(`{"aps":{}}`))
	f.Add("POST", "/3/device/", "authorization: bearer a.b.c", []byte(`[]`))
	f.Add("GET", "/", "apns-id: x\napns-id: y", []byte(nil))
	f.Add("POST", "/3/device/TOKEN", "apns-topic: .voip\napns-push-type: \napns-expiration: 99999999999999999999\napns-collapse-id: ", []byte(`{"a":1}`))
	s, device := detached(f, time.Now)
	hex := device.RegisterVoIP(fuzzBundle)
	f.Fuzz(func(t *testing.T, method, path, head string, body []byte) {
		req := &request{env: Production, method: method, path: strings.ReplaceAll(path, "TOKEN", hex), body: body[:min(len(body), keepBody)], size: len(body)}
		for line := range strings.Lines(head) {
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			req.header = append(req.header, Field{name, value})
		}
		team := ""
		j := &judge{registry: s.registry, team: &team}
		p := newPush(req, s.cfg.Now())
		judged := j.rule(p)
		authenticated := newPush(req, s.cfg.Now())
		authenticated.credential = credential{team: fuzzTeam}
		late := Verdict{Status: 200}
		for _, c := range checks()[5:] { // checkTopic and after
			if authenticated.token.hex == "" {
				authenticated.token.hex = hex
			}
			if v := c(j, authenticated); v != nil {
				late = *v
				break
			}
		}
		for _, v := range []Verdict{judged, late} {
			if !slices.Contains(reasons[v.Status], v.Reason) {
				t.Fatalf("verdict %+v", v)
			}
			r := p.reply(v)
			if v.Status == 200 != (len(r.body) == 0) || len(r.body) > 0 && !json.Valid(r.body) || !properID(r.header[0].Value) {
				t.Fatalf("reply %+v", r)
			}
		}
		if judged.Status == 200 {
			t.Fatal("accepted without a valid provider token")
		}
		if late.Status == 200 && (authenticated.bundle != fuzzBundle || authenticated.token.device != device || !json.Valid(body)) {
			t.Fatalf("accepted %+v", authenticated)
		}
	})
}

func FuzzProviderToken(f *testing.F) {
	f.Add("")
	f.Add("..")
	f.Add("eyJhbGciOiJFUzI1NiIsImtpZCI6IktFWTEyMzQ1NjcifQ.eyJpc3MiOiJBQkNERTEyMzQ1IiwiaWF0IjoxfQ." + strings.Repeat("A", 86))
	f.Add("eyJhbGciOiJFUzI1NiJ9.eyJpYXQiOjF9." + strings.Repeat("_", 86))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, compact string) {
		j, err := parseJWS(compact)
		if err == nil && j.verify(&key.PublicKey) == nil {
			t.Fatal("a signature was guessed")
		}
	})
}

// FuzzFrames feeds a connection what a client might send after the preface: it
// must neither panic nor stay.
func FuzzFrames(f *testing.F) {
	frames := func(write func(*http2.Framer, []byte) error) []byte {
		var b, block strings.Builder
		enc := hpack.NewEncoder(&block)
		for _, h := range []hpack.HeaderField{{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: "/3/device/00"}} {
			if err := enc.WriteField(h); err != nil {
				f.Fatal(err)
			}
		}
		if err := write(http2.NewFramer(&b, nil), []byte(block.String())); err != nil {
			f.Fatal(err)
		}
		return []byte(b.String())
	}
	head := func(fr *http2.Framer, id uint32, block []byte, end bool) error {
		return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: end})
	}
	f.Add(frames(func(fr *http2.Framer, block []byte) error {
		if err := fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}); err != nil {
			return err
		}
		return head(fr, 1, block, true)
	}))
	f.Add(frames(func(fr *http2.Framer, block []byte) error {
		if err := head(fr, 1, block, false); err != nil {
			return err
		}
		if err := fr.WriteData(1, false, []byte("{}")); err != nil {
			return err
		}
		return head(fr, 3, block, true)
	}))
	f.Add(frames(func(fr *http2.Framer, _ []byte) error { return fr.WritePing(false, [8]byte{}) }))
	f.Add(frames(func(fr *http2.Framer, _ []byte) error { return fr.WriteWindowUpdate(0, 1<<31-1) }))
	f.Add(frames(func(fr *http2.Framer, _ []byte) error { return fr.WriteRSTStream(1, http2.ErrCodeCancel) }))
	s, _ := detached(f, time.Now)
	f.Fuzz(func(t *testing.T, sent []byte) {
		client, server := net.Pipe()
		c := newConn(s, Production, server)
		c.nc = server
		drained := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, client)
			drained <- err
		}()
		finished := make(chan struct{})
		go func() {
			defer close(finished)
			c.frames()
		}()
		if _, err := client.Write(sent); err != nil && len(sent) == 0 {
			t.Error(err) // it may hang up on us, but not before we spoke
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		<-finished
		<-drained
	})
}

// TestMailboxModel compares deliveries with the few sentences of the rule:
// online: at once; offline: a push with time left replaces the one stored for
// its bundle, another is dropped; coming online brings what has time left.
func TestMailboxModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		s, device := detached(t, func() time.Time { return now })
		type waiting struct {
			n     int
			until time.Time
		}
		bundles := []string{"com.example.a", "com.example.b"}
		hex := map[string]string{}
		for _, b := range bundles {
			hex[b] = device.RegisterVoIP(b)
		}
		online, stored := true, map[string]waiting{}
		want, got := map[int]bool{}, map[int]bool{}
		for n := range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 2).Draw(rt, "step") {
			case 0:
				online = !online
				device.Online(online)
				if online {
					for b, w := range stored {
						if now.Before(w.until) {
							want[w.n] = true
						}
						delete(stored, b)
					}
				}
			case 1:
				now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(rt, "seconds")) * time.Second)
			case 2:
				b := rapid.SampledFrom(bundles).Draw(rt, "bundle")
				life := rapid.SampledFrom([]time.Duration{-1, 0, time.Second, 30 * time.Second}).Draw(rt, "life")
				p := &push{req: &request{body: []byte(`{}`)}, now: now, bundle: b, priority: n, expiration: now.Add(life)}
				until := p.expiration
				if life == -1 {
					p.expiration, until = time.Time{}, now.Add(30*24*time.Hour)
				}
				p.token, _ = s.registry.token(hex[b])
				s.deliver(p, s.journal.begin(Entry{}))
				switch {
				case online:
					want[n] = true
				case life != 0:
					stored[b] = waiting{n, until}
				}
			}
		}
		list, _ := device.Received(0)
		for _, d := range list {
			if got[d.Priority] {
				rt.Fatalf("push %d was delivered twice", d.Priority)
			}
			got[d.Priority] = true
		}
		if len(got) != len(want) {
			rt.Fatalf("delivered %v, want %v", got, want)
		}
		for n := range want {
			if !got[n] {
				rt.Fatalf("push %d is missing: %v", n, got)
			}
		}
	})
}
