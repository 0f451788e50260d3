package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/cmd/internal/api"
	"wakebridge/config"
	"wakebridge/sipua/location"
)

// One phone whose app registers with push parameters and whose backend announces
// tokens too.
func TestPhoneAndBackendDisagree(t *testing.T) {
	s := serveHTTP(t, nil)
	old, rotated := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	s.ask("PUT", devicePath(devPhone), announcement(old, ""), nil)
	now := time.Now()
	register := location.Upsert{AOR: callee, Announced: location.Tokens,
		Binding: location.Binding{Contact: "<sip:alice@10.0.0.3>", Instance: devPhone, Registered: now, Expires: now.Add(time.Hour)},
		Push:    location.PushInfo{Provider: "apns", BundleID: DevBundle, VoIP: location.Token{Value: rotated, Kind: location.VoIP}}}
	if _, err := s.registrar.Do(t.Context(), register); err != nil {
		t.Fatal(err)
	}
	var d api.Device
	if status := s.ask("PUT", devicePath(devPhone), announcement(old, ""), &d); status != 200 || d.Push.VoIPToken.Value != "…cdcd" || d.Push.VoIPToken.Source != "sip" {
		t.Errorf("the backend repeats itself: %d %+v", status, d.Push)
	}
	if status := s.ask("DELETE", devicePath(devPhone), nil, nil); status != 204 {
		t.Errorf("DELETE: %d", status)
	}
	if d := s.memory.Devices(callee)[0]; d.Push.HasToken() || d.LoggedOut.IsZero() {
		t.Errorf("logged out, and yet: %+v", d.Push)
	}
}

// A backend hears that its token is dead, and for how long that counts.
func TestPutOfADeadToken(t *testing.T) {
	s := serveHTTP(t, nil)
	voip, alert := strings.Repeat("ab", 32), strings.Repeat("cd", 32)
	s.ask("PUT", devicePath(devPhone), announcement(voip, ""), nil)
	if _, err := s.registrar.Do(t.Context(), location.RemoveToken{Kind: location.VoIP, Value: voip, NotAfter: time.Now(), Gone: true}); err != nil {
		t.Fatal(err)
	}
	var p api.Problem
	for range 2 {
		if status := s.ask("PUT", devicePath(devPhone), announcement(strings.ToUpper(voip), ""), &p); status != 409 || !strings.Contains(p.Title, "no longer knows") ||
			!strings.Contains(p.Fix, "a day") || len(s.memory.Devices(callee)) != 0 {
			t.Errorf("%d %+v, %+v", status, p, s.memory.Devices(callee))
		}
	}
	if status := s.ask("PUT", devicePath(devPhone), announcement(voip, alert), &p); status != 409 || s.memory.Devices(callee)[0].Push.Alert.Value != alert {
		t.Errorf("%d %+v", status, p)
	}
	if text := s.log.String(); strings.Count(text, "note=token-dead") != 3 || strings.Contains(text, voip) {
		t.Errorf("log: %s", text)
	}
}

// A PUT that pushes another phone out says which.
func TestPutTellsWhoMadeRoom(t *testing.T) {
	s := serveHTTP(t, func(c *config.Config) { c.Domains[0].MaxContacts = 2 })
	path := func(n int) string {
		return devicePath(fmt.Sprintf("urn:uuid:5f0f5b1c-0000-4000-8000-00000000000%d", n))
	}
	var d api.Device
	for n := 1; n <= 2; n++ {
		if s.ask("PUT", path(n), announcement(fmt.Sprintf("abcd0%d", n), ""), &d); d.Evicted != nil {
			t.Errorf("%d: %v", n, d.Evicted)
		}
	}
	want := []string{"urn:uuid:5f0f5b1c-0000-4000-8000-000000000001"}
	if status := s.ask("PUT", path(3), announcement("abcd03", ""), &d); status != 201 || !slices.Equal(d.Evicted, want) {
		t.Errorf("%d %v, want %v", status, d.Evicted, want)
	}
	if s.ask("PUT", path(3), announcement("abcd03", ""), &d); d.Evicted != nil {
		t.Errorf("again: %v", d.Evicted)
	}
	if s.ask("GET", path(1), nil, nil) != 404 || s.ask("GET", path(2), nil, nil) != 200 {
		t.Error("another one went")
	}
}
