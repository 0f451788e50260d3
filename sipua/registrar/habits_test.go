package registrar_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/location"
)

// A sleeping phone must survive its own habits (DESIGN s4). Each test ends with a
// phone that is gone, and asks whether it can still be woken.

func sleeper(t *testing.T) (*office, *phone) {
	o := newOffice(t)
	p := o.phone("alice", aliceHost, sipua.TCP)
	p.must(200, p.contact(push(token1), instance(phone1)))
	return o, p
}

func TestHabitConnectionLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.sleep()
		time.Sleep(8 * 24 * time.Hour) // the binding has run out too
		o.wantWakeable(true)
		time.Sleep(83 * 24 * time.Hour)
		if n := len(o.mem.Devices(alice)); n != 0 { // push.device_ttl
			t.Errorf("%d devices", n)
		}
	})
}

func TestHabitRemoveOldAddNewInOneRegister(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		for range 5 {
			old := p.contact(push(token1), instance(phone1)+";expires=0")
			p.sleep()
			p.connect()
			p.must(200, old, p.contact(push(token1), instance(phone1)))
		}
		if d := o.device(); len(d.Bindings) != 1 {
			t.Errorf("%d bindings", len(d.Bindings))
		}
		p.sleep()
		time.Sleep(2 * time.Minute)
		o.wantWakeable(true)
	})
}

// When only the token changes, the old and the new Contact have one address.
func TestHabitRemoveOldTokenAddNewOne(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for _, flip := range []bool{false, true} {
			o, p := sleeper(t)
			old, fresh := p.contact(push(token1), instance(phone1)+";expires=0"), p.contact(push(token2), instance(phone1))
			if flip {
				old, fresh = fresh, old
			}
			p.must(200, old, fresh)
			p.sleep()
			time.Sleep(2 * time.Minute)
			o.wantWakeable(true)
			if d := o.device(); d.Push.VoIP.Value != token2 || len(d.Bindings) != 1 {
				t.Errorf("%+v", d)
			}
		}
	})
}

func TestHabitRemoveOldAddNewInTwoRegisters(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.must(200, p.contact("", instance(phone1)+";expires=0"))
		time.Sleep(59 * time.Second)
		p.must(200, p.contact(push(token1), instance(phone1)))
		p.sleep()
		time.Sleep(2 * time.Minute)
		o.wantWakeable(true)
	})
}

func TestHabitRegisterBeforeTheTokenIsThere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.sleep()
		p.connect()
		p.must(200, p.contact("", instance(phone1)))
		time.Sleep(5 * time.Second)
		p.must(200, p.contact(push(token2), instance(phone1))) // PushKit has answered
		p.sleep()
		time.Sleep(2 * time.Minute)
		o.wantWakeable(true)
		if v := o.device().Push.VoIP.Value; v != token2 {
			t.Errorf("token %s", v)
		}
	})
}

// One that goes on without a token wants no pushes.
func TestHabitTokenLeftOut(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.must(200, p.contact("", instance(phone1)))
		time.Sleep(59 * time.Second)
		o.wantWakeable(true)
		time.Sleep(2 * time.Second)
		o.wantWakeable(false)
	})
}

// Not during one of its calls, whatever its device is called.
func TestHabitTokenLeftOutInACall(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for name, inst := range map[string]string{"with an instance": instance(phone1), "without": ""} {
			o := newOffice(t)
			p := o.phone("alice", aliceHost, sipua.TCP)
			p.must(200, p.contact(push(token1), inst))
			o.locked(func() { o.callings[o.mem.Devices(alice)[0].Ref()] = true })
			p.must(200, p.contact("", inst))
			time.Sleep(2 * time.Minute)
			if d := o.device(); !d.Wakeable {
				t.Errorf("%s: %+v", name, d)
			}
		}
	})
}

func TestHabitCapabilityQuery(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		for _, query := range []string{";pn-provider", ";pn-provider=apns"} {
			p.must(200, p.contact(query, instance(phone1)))
			time.Sleep(2 * time.Minute)
			o.wantWakeable(true)
		}
		p.sleep()
		time.Sleep(2 * time.Minute)
		o.wantWakeable(true)
	})
}

func TestHabitAddressChange(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		q := o.phone("alice", bobHost, sipua.TCP) // from Wi-Fi to LTE, the old connection still open
		q.must(200, q.contact(push(token1), instance(phone1)))
		if b, _ := o.device().Flow(); b.Received.Addr() != bobHost {
			t.Errorf("reached over %s", b)
		}
		p.sleep()
		q.sleep()
		time.Sleep(2 * time.Minute)
		o.wantWakeable(true)
	})
}

func TestHabitNoInstance(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact(push(token1), ""))
		for range 3 {
			p.sleep()
			p.connect()
			p.must(200, p.contact(push(token1), ""))
		}
		p.sleep()
		time.Sleep(2 * time.Minute)
		o.wantWakeable(true)
	})
}

func fate(o *office, uuid string) {
	d := o.device()
	o.reg.Edit(location.PutFate{Fate: location.Fate{AOR: alice, DeviceKey: d.Key, UUID: uuid, Cause: 487, Text: "caller gave up",
		Recorded: time.Now(), KeepUntil: time.Now().Add(5 * time.Minute)}})
}

// The fate of a missed call is told once over a connection, in the 200, to an app that
// reads it.
func TestCallEndedIsToldOncePerConnection(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		reads := instance(phone1) + ";+x-wake-fate"
		p.must(200, p.contact(push(token1), reads))
		p.sleep()
		const one, two = "3f1a0000-0000-4000-8000-000000000001", "3f1a0000-0000-4000-8000-000000000002"
		fate(o, one)
		time.Sleep(time.Second)
		fate(o, two)
		q := o.phone("alice", bobHost, sipua.TCP)
		if got := values(q.must(200, q.contact("", instance(phone2)+";+x-wake-fate")), header.NameCallEnded); len(got) != 0 {
			t.Errorf("another phone was told %q", got)
		}
		p.connect()
		got := values(p.must(200, p.contact(push(token1), reads)), header.NameCallEnded)
		if fmt.Sprint(got) != fmt.Sprintf(`[%s;cause=487;text="caller gave up" %s;cause=487;text="caller gave up"]`, one, two) {
			t.Errorf("told %q", got)
		}
		if got := values(p.must(200, p.contact(push(token1), reads)), header.NameCallEnded); len(got) != 0 {
			t.Errorf("told again %q", got)
		}
		p.sleep() // that 200 may have gone down with its connection
		p.connect()
		if got := values(p.must(200, p.contact(push(token1), reads)), header.NameCallEnded); len(got) != 2 {
			t.Errorf("told over the next connection: %q", got)
		}
		if len(o.late) != 0 {
			t.Errorf("and by a call: %v", o.late)
		}
	})
}

// An app that does not read the header is told by whoever gets Late.
func TestLateIsCalledForOtherApps(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.sleep()
		fate(o, "3f1a0000-0000-4000-8000-000000000001")
		p.connect()
		for range 2 {
			if got := values(p.must(200, p.contact(push(token1), instance(phone1))), header.NameCallEnded); len(got) != 0 {
				t.Errorf("header %q", got)
			}
			p.sleep()
			p.connect()
		}
		if len(o.late) != 1 || o.late[0].UUID != "3f1a0000-0000-4000-8000-000000000001" {
			t.Errorf("late %v", o.late)
		}
	})
}

// What Late will not tell, of a device in a call or because it is too late, the
// answer tells, whether the app is known to read it or not.
func TestWhatLateLeavesIsInTheAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.sleep()
		o.tellsNothing = true
		fate(o, "3f1a0000-0000-4000-8000-000000000001")
		p.connect()
		if got := values(p.must(200, p.contact(push(token1), instance(phone1))), header.NameCallEnded); len(got) != 1 {
			t.Errorf("told %q", got)
		}
	})
}

// RFC 5626 s6: who binds a reg-id and knows outbound hears that we do too.
func TestOutboundIsConfirmed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		for _, c := range []struct {
			contact, supported string
			want               string
		}{
			{instance(phone1) + ";reg-id=1", "path, outbound", "[outbound]"},
			{instance(phone1) + ";reg-id=1", "path", "[]"},
			{instance(phone1), "outbound", "[]"},
			{";reg-id=1", "outbound", "[]"},
		} {
			res := p.must(200, p.contact("", c.contact), "Supported: "+c.supported)
			if got := values(res, "Require"); fmt.Sprint(got) != c.want {
				t.Errorf("%+v: Require %q", c, got)
			}
			if got := values(res, "Supported"); fmt.Sprint(got) != "[path, outbound]" {
				t.Errorf("Supported %q", got)
			}
		}
	})
}

// A refused REGISTER tells nothing: the fate waits for the next.
func TestFateWaitsForA200(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		reads := instance(phone1) + ";+x-wake-fate"
		p.must(200, p.contact(push(token1), reads))
		p.sleep()
		p.connect()
		fate(o, "3f1a0000-0000-4000-8000-000000000001")
		o.store.Fail(fmt.Errorf("disk full"))
		p.must(503, p.contact(push(token1), reads))
		o.store.Fail(nil)
		if got := values(p.must(200, p.contact(push(token1), reads)), header.NameCallEnded); len(got) != 1 {
			t.Errorf("told %q", got)
		}
	})
}

// A token that moves to another phone is reported, masked.
func TestTokenTakenIsReported(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.sleep()
		q := o.phone("bob", bobHost, sipua.TCP)
		q.must(200, q.contact(push(token1), instance(phone2)))
		if s := o.logged.String(); !strings.Contains(s, "token-taken") || strings.Contains(s, token1) {
			t.Errorf("log:\n%s", s)
		}
		o2 := o.mem.Devices(alice)
		if len(o2) == 1 && o2[0].Wakeable {
			t.Error("alice's phone still has bob's token")
		}
	})
}

// push.shared_token: what the phone that registers, and the one that had the token,
// are after it.
func TestSharedTokenRules(t *testing.T) {
	tests := []struct {
		rule           location.SharedToken
		instance       string // of bob's phone; alice's is phone1
		alice, bob     bool   // may be woken
		note, services string
	}{
		{location.SameInstance, phone1, true, true, "", `[*;+sip.pns="apns"]`},
		{location.SameInstance, phone2, false, true, "token-taken", `[*;+sip.pns="apns"]`},
		{location.Newest, phone1, false, true, "token-taken", `[*;+sip.pns="apns"]`},
		{location.Newest, phone2, false, true, "token-taken", `[*;+sip.pns="apns"]`},
		{location.Refuse, phone1, true, true, "", `[*;+sip.pns="apns"]`},
		{location.Refuse, phone2, true, false, "token-refused", "[]"},
	}
	for _, tt := range tests {
		t.Run(tt.rule.String()+" "+tt.instance[len(tt.instance)-1:], func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				o := newOfficeOf(t, location.Rules{AfterExpiry: true, SharedToken: tt.rule})
				p, q := o.phone("alice", aliceHost, sipua.TCP), o.phone("bob", bobHost, sipua.TCP)
				p.must(200, p.contact(push(token1), instance(phone1)))
				res := q.must(200, q.contact(push(token1), instance(tt.instance)))
				if got := fmt.Sprint(values(res, "Feature-Caps")); got != tt.services {
					t.Errorf("bob is told %s, want %s", got, tt.services)
				}
				for user, want := range map[string]bool{"alice": tt.alice, "bob": tt.bob} {
					if d := o.mem.Devices(sipua.NewAOR(user, "example.com")); len(d) != 1 || d[0].Wakeable != want {
						t.Errorf("%s: %+v", user, d)
					}
				}
				s := o.logged.String()
				if strings.Contains(s, "note=") != (tt.note != "") || !strings.Contains(s, tt.note) || strings.Contains(s, token1) {
					t.Errorf("log:\n%s", s)
				}
				// The answer to alice's next REGISTER is as true.
				res = p.must(200, p.contact(push(token1), instance(phone1)))
				if len(values(res, "Feature-Caps")) != 1 {
					t.Errorf("alice, who takes it back: %v", values(res, "Feature-Caps"))
				}
			})
		})
	}
}

// A phone that does not come is told of once, and its return too.
func TestSuspicionIsLogged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		both := ";pn-provider=apns;pn-prid=" + token1 + ":remote&" + token2 + ":voip;pn-param=ABCDE12345.com.example.phone.remote&voip"
		p.must(200, p.contact(both, instance(phone1)))
		for range 4 {
			o.reg.Edit(location.PushReport{AOR: alice, Key: phone1, Kind: location.VoIP, Accepted: true})
			synctest.Wait()
		}
		p.must(200, p.contact(both, instance(phone1)))
		s := o.logged.String()
		if strings.Count(s, "note=suspected") != 1 || strings.Count(s, "note=recovered") != 1 || !strings.Contains(s, "CallKit") || strings.Contains(s, token2) {
			t.Errorf("log:\n%s", s)
		}
	})
}
