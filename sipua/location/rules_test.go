package location

import (
	"slices"
	"strings"
	"testing"
	"time"

	"wakebridge/sipua"
)

var (
	alice = sipua.NewAOR("alice", "example.com")
	bob   = sipua.NewAOR("bob", "example.com")
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func voip(value string, source TokenSource) PushInfo {
	return PushInfo{Provider: "apns", VoIP: Token{Value: value, Kind: VoIP, Source: source, Updated: epoch}}
}

func TestWakeable(t *testing.T) {
	bound := []Binding{{Contact: "sip:a@h", Expires: epoch.Add(time.Hour)}}
	over := []Binding{{Contact: "sip:a@h", Expires: epoch}}
	day := 24 * time.Hour
	for _, test := range []struct {
		name   string
		device Device
		rules  Rules
		want   bool
	}{
		{"token, asleep, binding over", Device{Push: voip("a", FromSIP), LastSeen: epoch}, Rules{AfterExpiry: true}, true},
		{"alert token alone", Device{Push: PushInfo{Alert: Token{Value: "a"}}, LastSeen: epoch}, Rules{AfterExpiry: true}, true},
		{"no token", Device{Bindings: bound, LastSeen: epoch}, Rules{AfterExpiry: true}, false},
		{"logged out", Device{Push: voip("a", FromSIP), LastSeen: epoch, LoggedOut: epoch}, Rules{AfterExpiry: true}, false},
		{"log-out pending", Device{Push: voip("a", FromSIP), LastSeen: epoch, LogoutDue: epoch.Add(1)}, Rules{AfterExpiry: true}, true},
		{"one second before the TTL", Device{Push: voip("a", FromSIP), LastSeen: epoch.Add(-90*day + time.Second)}, Rules{AfterExpiry: true}, true},
		{"at the TTL", Device{Push: voip("a", FromSIP), LastSeen: epoch.Add(-90 * day)}, Rules{AfterExpiry: true}, false},
		{"own TTL", Device{Push: voip("a", FromSIP), LastSeen: epoch.Add(-2 * day)}, Rules{AfterExpiry: true, DeviceTTL: day}, false},
		{"RFC 8599: binding alive", Device{Push: voip("a", FromSIP), LastSeen: epoch, Bindings: bound}, Rules{}, true},
		{"RFC 8599: binding over", Device{Push: voip("a", FromSIP), LastSeen: epoch, Bindings: over}, Rules{}, false},
	} {
		if got := test.rules.Wakeable(test.device, epoch); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}

func TestMatchDevice(t *testing.T) {
	contact := func(s string) Binding { return Binding{Contact: s, Flow: 1, CallID: "1"} }
	withInstance := Device{Key: "i1", Instance: "i1", Push: voip("t1", FromSIP), Bindings: []Binding{contact("sip:a@10.0.0.1")}}
	byToken := Device{Key: "tok", Push: voip("t2", FromSIP), Bindings: []Binding{contact("sip:a@10.0.0.2")}}
	plain := Device{Key: "sip:a@10.0.0.3", Bindings: []Binding{contact("sip:a@10.0.0.3")}}
	backend := Device{Key: "b1", Instance: "b1", Push: voip("t4", FromHTTP)}
	all := []Device{withInstance, byToken, plain}

	for _, test := range []struct {
		name    string
		devices []Device
		binding Binding
		token   string
		want    string // "" for a new device
	}{
		{"first device", nil, contact("sip:a@h"), "", ""},
		{"instance, new address and token", all, Binding{Instance: "i1", Contact: "sip:a@new"}, "t9", "i1"},
		{"instance that nobody has, contact of another instance", all, Binding{Instance: "i2", Contact: "sip:a@10.0.0.1"}, "t9", ""},
		{"instance that nobody has, token of another instance", all, Binding{Instance: "i2", Contact: "sip:a@new"}, "t1", ""},
		{"token", all, Binding{Contact: "sip:a@new"}, "t2", "tok"},
		{"token of a device that also sent an instance once", all, Binding{Contact: "sip:a@new"}, "t1", "i1"},
		{"app begins to send its instance: by token", all, Binding{Instance: "i3", Contact: "sip:a@new"}, "t2", "tok"},
		{"app begins to send its instance: by contact", all, Binding{Instance: "i3", Contact: "sip:a@10.0.0.3"}, "", "sip:a@10.0.0.3"},
		{"contact without token", all, Binding{Contact: "<sip:a@10.0.0.3;x-y>"}, "", ""},
		{"contact, REGISTER before the token is there", all, Binding{Contact: "<sip:a@10.0.0.3>;expires=3"}, "", "sip:a@10.0.0.3"},
		{"contact, now with its first token", all, Binding{Contact: "<sip:a@10.0.0.3;pn-prid=t9>"}, "t9", "sip:a@10.0.0.3"},
		{"contact, REGISTER without the token", all, Binding{Contact: "sip:a@10.0.0.2"}, "", "tok"},
		{"same private address, other token: another phone", all, Binding{Contact: "sip:a@10.0.0.2", Flow: 2, CallID: "2"}, "t9", ""},
		{"same flow, other token: rotated", all, Binding{Contact: "sip:a@10.0.0.2", Flow: 1, CallID: "2"}, "t9", "tok"},
		{"same Call-ID, other token: rotated", all, Binding{Contact: "sip:a@10.0.0.2", Flow: 2, CallID: "1"}, "t9", "tok"},
		{"key of a device whose binding is gone", []Device{{Key: "sip:a@h", Push: voip("t5", FromSIP)}}, Binding{Contact: "sip:a@h"}, "", "sip:a@h"},
		{"the only device, announced by the backend", []Device{backend}, Binding{Contact: "sip:a@new"}, "", "b1"},
		{"backend's, but not the only one", []Device{backend, plain}, Binding{Contact: "sip:a@new"}, "", ""},
		{"backend's, but it is another instance", []Device{backend}, Binding{Contact: "sip:a@new", Instance: "i9"}, "", ""},
		{"the only device, known by SIP", []Device{byToken}, Binding{Contact: "sip:a@new"}, "", ""},
	} {
		got, known := MatchDevice(test.devices, test.binding, test.token, "")
		if got != test.want || known != (test.want != "") {
			t.Errorf("%s: %q, %t; want %q", test.name, got, known, test.want)
		}
	}
}

func TestAnnounceTokens(t *testing.T) {
	later := epoch.Add(time.Hour)
	learned := voip("a", FromSIP)
	learned.VoIP.Environment = Sandbox
	both := voip("a", FromSIP)
	both.Alert = Token{Value: "x", Kind: Alert, Source: FromHTTP, Updated: epoch}
	alert := PushInfo{Provider: "apns", Alert: Token{Value: "y"}}
	rotated := voip("b", FromSIP)
	rotated.VoIP.Replaced = "a"
	of := func(provider, team string, p PushInfo) PushInfo {
		p.Provider, p.TeamID = provider, team
		return p
	}

	for _, test := range []struct {
		name        string
		old, new    PushInfo
		source      TokenSource
		voip, alert string
		voipSource  TokenSource
		env         Environment
		keeps       bool   // the token is not newer than it was
		replaced    string // of the VoIP token
		provider    string
	}{
		{"first", PushInfo{}, voip("a", 0), FromSIP, "a", "", FromSIP, UnknownEnvironment, false, "", "apns"},
		{"same: what was learned stays", learned, voip("a", 0), FromSIP, "a", "", FromSIP, Sandbox, false, "", "apns"},
		{"rotated: learn again", learned, voip("b", 0), FromSIP, "b", "", FromSIP, UnknownEnvironment, false, "", "apns"},
		{"VoIP not named any more: forgotten", learned, alert, FromSIP, "", "y", 0, UnknownEnvironment, false, "", "apns"},
		{"backend's alert stays", both, voip("b", 0), FromSIP, "b", "x", FromSIP, UnknownEnvironment, false, "", "apns"},
		{"SIP names what the backend named: stays the backend's, and is newer", voip("a", FromHTTP), voip("a", 0), FromSIP, "a", "", FromHTTP, UnknownEnvironment, false, "", "apns"},
		{"backend confirms SIP's", learned, voip("a", 0), FromHTTP, "a", "", FromHTTP, Sandbox, true, "", "apns"},
		{"backend takes its alert back: the app stays", both, PushInfo{}, FromHTTP, "a", "", FromSIP, UnknownEnvironment, false, "", "apns"},
		{"backend repeats itself", voip("a", FromHTTP), voip("a", 0), FromHTTP, "a", "", FromHTTP, UnknownEnvironment, true, "", "apns"},
		{"SIP has another than the backend", voip("a", FromHTTP), voip("b", 0), FromSIP, "b", "", FromSIP, UnknownEnvironment, false, "a", "apns"},
		{"SIP has yet another", rotated, voip("c", 0), FromSIP, "c", "", FromSIP, UnknownEnvironment, false, "a", "apns"},
		{"SIP refreshes it", rotated, voip("b", 0), FromSIP, "b", "", FromSIP, UnknownEnvironment, false, "a", "apns"},
		{"SIP is back at the backend's", rotated, voip("a", 0), FromSIP, "a", "", FromHTTP, UnknownEnvironment, false, "", "apns"},
		{"SIP names the other kind only", rotated, alert, FromSIP, "b", "y", FromSIP, UnknownEnvironment, false, "a", "apns"},
		{"the backend repeats what SIP replaced", rotated, voip("a", 0), FromHTTP, "b", "", FromSIP, UnknownEnvironment, true, "a", "apns"},
		{"the backend has news", rotated, voip("c", 0), FromHTTP, "c", "", FromHTTP, UnknownEnvironment, false, "", "apns"},
		{"the backend agrees with SIP", rotated, voip("b", 0), FromHTTP, "b", "", FromHTTP, UnknownEnvironment, true, "", "apns"},
		{"the backend names the other kind only", rotated, alert, FromHTTP, "b", "y", FromSIP, UnknownEnvironment, false, "", "apns"},
		{"SIP: another provider", of("fcm", "", voip("a", FromHTTP)), alert, FromSIP, "", "y", 0, UnknownEnvironment, false, "", "apns"},
		{"HTTP: another provider", both, of("fcm", "", voip("f", 0)), FromHTTP, "f", "", FromHTTP, UnknownEnvironment, false, "", "fcm"},
		{"SIP: another team", of("apns", "TEAM1", voip("a", FromHTTP)), of("apns", "TEAM2", alert), FromSIP, "", "y", 0, UnknownEnvironment, false, "", "apns"},
		{"SIP: the team is not said", of("apns", "TEAM1", voip("a", FromHTTP)), alert, FromSIP, "a", "y", FromHTTP, UnknownEnvironment, false, "", "apns"},
		{"the same value for another app", of("apns", "TEAM1", voip("a", FromHTTP)), of("apns", "TEAM2", voip("a", 0)), FromHTTP, "a", "", FromHTTP, UnknownEnvironment, false, "", "apns"},
	} {
		got := test.old.announce(test.new, test.source, later)
		if got.VoIP.Value != test.voip || got.Alert.Value != test.alert || got.VoIP.Source != test.voipSource || got.VoIP.Environment != test.env {
			t.Errorf("%s: voip %q from %s in %s, alert %q", test.name, got.VoIP.Value, got.VoIP.Source, got.VoIP.Environment, got.Alert.Value)
		}
		want := later
		if test.keeps {
			want = epoch
		}
		if n := test.new.VoIP.Value; n != "" && !got.VoIP.Updated.Equal(want) || got.VoIP.Replaced != test.replaced {
			t.Errorf("%s: updated %s, replaced %q", test.name, got.VoIP.Updated, got.VoIP.Replaced)
		}
		if got.Provider != test.provider {
			t.Errorf("%s: provider %q", test.name, got.Provider)
		}
	}
	if got := voip("a", FromSIP).announce(PushInfo{}, FromSIP, later); got != (PushInfo{}) {
		t.Errorf("nothing left, but %+v", got)
	}
}

func TestSharedToken(t *testing.T) {
	on := func(aor sipua.AOR, key, instance string) Holder { return Holder{Ref{aor, key}, instance} }
	aliceOld, aliceNew := on(alice, "i1", "i1"), on(alice, "i2", "i2")
	bobSame, bobOther := on(bob, "i1", "i1"), on(bob, "i2", "i2")
	noInstance, noInstanceBob := on(alice, "token:1", ""), on(bob, "token:1", "")

	for _, test := range []struct {
		name     string
		newcomer Holder
		holder   Holder
		loses    [3]bool // by rule
		refused  bool    // by Refuse
	}{
		{"itself", aliceOld, aliceOld, [3]bool{}, false},
		{"one phone, two AORs", bobSame, aliceOld, [3]bool{false, true, false}, false},
		{"one phone, two AORs, no instance", noInstanceBob, noInstance, [3]bool{false, true, false}, false},
		{"app installed again", aliceNew, aliceOld, [3]bool{true, true, true}, false},
		{"another phone, another user", bobOther, aliceOld, [3]bool{true, true, false}, true},
		{"one says its instance, one does not", noInstanceBob, aliceOld, [3]bool{true, true, false}, true},
	} {
		for _, rule := range []SharedToken{SameInstance, Newest, Refuse} {
			losers, refusedFor := rule.Decide(test.newcomer, []Holder{test.holder})
			if got := slices.Contains(losers, test.holder.Device); got != test.loses[rule] {
				t.Errorf("%s, %s: loses %t", test.name, rule, got)
			}
			if got := refusedFor != (Ref{}); got != (rule == Refuse && test.refused) {
				t.Errorf("%s, %s: refused %t", test.name, rule, got)
			}
		}
	}
	// Who is refused takes it from nobody.
	if losers, _ := Refuse.Decide(aliceNew, []Holder{aliceOld, bobSame}); losers != nil {
		t.Errorf("refused, and yet %v lost the token", losers)
	}
}

func TestPlace(t *testing.T) {
	b := func(contact string, regID int) Binding { return Binding{Contact: contact, Instance: "i", RegID: regID} }
	contacts := func(bs []Binding) (out []string) {
		for _, b := range bs {
			out = append(out, b.Contact)
		}
		return out
	}
	for _, test := range []struct {
		name string
		old  []Binding
		new  Binding
		want []string
	}{
		{"first", nil, b("sip:a@1", 0), []string{"sip:a@1"}},
		{"refresh, byte for byte the newest spelling", []Binding{b("sip:a@1", 0)}, b("<sip:a@1>", 0), []string{"<sip:a@1>"}},
		{"new address", []Binding{b("sip:a@1", 0)}, b("sip:a@2", 0), []string{"sip:a@2", "sip:a@1"}},
		{"new address, same reg-id", []Binding{b("sip:a@1", 1)}, b("sip:a@2", 1), []string{"sip:a@2"}},
		{"second flow, same address", []Binding{b("sip:a@1", 1)}, b("sip:a@1", 2), []string{"sip:a@1", "sip:a@1"}},
		{"refresh of the older", []Binding{b("sip:a@1", 0), b("sip:a@2", 0)}, b("sip:a@2", 0), []string{"sip:a@2", "sip:a@1"}},
		{"new token in the URI", []Binding{b("<sip:a@1;pn-prid=00>", 0)}, b("<sip:a@1;pn-prid=11>", 0), []string{"<sip:a@1;pn-prid=11>"}},
	} {
		if got := contacts(place(test.old, test.new)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestEvict(t *testing.T) {
	at := func(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }
	device := func(key string, seen int, token bool, flows ...FlowID) Device {
		d := Device{AOR: alice, Key: key, LastSeen: at(seen)}
		for i, f := range flows {
			d.Bindings = append(d.Bindings, Binding{Contact: key + string(rune('a'+i)), Flow: f, Registered: at(seen - i), Expires: at(1000)})
		}
		if token {
			d.Push = voip(key, FromSIP)
		}
		return d
	}
	me := device("me", 100, true, 9)
	for _, test := range []struct {
		name    string
		devices []Device
		limit   int
		want    []string // key, or key/contact
	}{
		{"no limit", []Device{me, device("x", 1, false, 0)}, 0, nil},
		{"fits", []Device{me, device("x", 1, false, 0)}, 2, nil},
		{"own old address first", []Device{device("me", 100, true, 9, 0), device("x", 1, true, 0)}, 2, []string{"me/meb"}},
		{"a plain phone that is gone before a sleeping one", []Device{me, device("s", 1, true, 0), device("x", 2, false, 0)}, 2, []string{"x"}},
		{"sleeping without a binding counts", []Device{me, device("s", 1, true), device("t", 2, true)}, 2, []string{"s"}},
		{"the oldest sleeper, not the one awake", []Device{me, device("w", 1, true, 5), device("s", 2, true, 0), device("t", 3, true, 0)}, 3, []string{"s"}},
		{"all awake: the oldest", []Device{me, device("v", 2, true, 4), device("w", 1, true, 5)}, 2, []string{"w"}},
		{"never the newcomer", []Device{me}, 1, nil},
		{"several", []Device{me, device("x", 1, false, 0, 0, 0), device("s", 2, true, 0)}, 1, []string{"x", "s"}},
		{"a second flow before a device", []Device{me, device("w", 1, true, 5, 6)}, 2, []string{"w/wb"}},
	} {
		var got []string
		for _, v := range (Rules{AfterExpiry: true}).evict(test.devices, "me", test.limit, at(100)) {
			if v.contact != "" {
				v.key += "/" + v.contact
			}
			got = append(got, v.key)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestAgenda(t *testing.T) {
	a := agenda{at: map[any]*item{}}
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	for i := range 50 {
		a.set(i, at(1000+i))
		a.set(i, at(50-i)) // earlier
		a.set(i, at(100+i))
	}
	a.set(7, time.Time{})
	a.set(99, time.Time{})
	var got []any
	for s := range 300 {
		for {
			key, ok := a.take(at(s))
			if !ok {
				break
			}
			if s != 100+key.(int) {
				t.Errorf("%v at %d s", key, s)
			}
			got = append(got, key)
		}
	}
	if _, ok := a.next(); len(got) != 49 || slices.Contains(got, any(7)) || ok || len(a.at) != 0 {
		t.Errorf("took %v", got)
	}
}

// A journal from a machine whose clock was ahead: nothing lives for ever, and
// nothing ends at once.
func TestReviveClockJump(t *testing.T) {
	now := time.Now()
	for _, ahead := range []time.Duration{0, time.Hour, 365 * 24 * time.Hour} {
		saved := now.Add(ahead).Round(0)
		d := Device{
			Bindings: []Binding{{Contact: "x", Flow: 7, Registered: saved, Expires: saved.Add(time.Hour)}}, Push: voip("a", FromSIP),
			LastSeen: saved, LogoutDue: saved.Add(time.Minute), TokensDue: saved.Add(time.Minute),
		}
		d.Push.VoIP.Updated = saved
		r := revive(d, time.Minute, now)
		b := r.Bindings[0]
		if lease := b.Expires.Sub(now); lease < 59*time.Minute || lease > time.Hour {
			t.Errorf("%s ahead: lease %s", ahead, lease)
		}
		for _, at := range []time.Time{b.Expires, b.Registered, r.LastSeen, r.LogoutDue} {
			if !strings.Contains(at.String(), "m=") {
				t.Errorf("%s ahead: %s follows the wall clock", ahead, at)
			}
		}
		if b.Flow != 0 || r.LastSeen.After(now) || b.Registered.After(now) || r.Push.VoIP.Updated.After(now) {
			t.Errorf("%s ahead: %+v", ahead, r)
		}
		if due := r.LogoutDue.Sub(now); due <= 0 || due > time.Minute || !r.TokensDue.Equal(r.LogoutDue) {
			t.Errorf("%s ahead: log-out due in %s", ahead, due)
		}
		if d.Bindings[0].Flow != 7 {
			t.Error("changed the caller's device")
		}
	}
}
