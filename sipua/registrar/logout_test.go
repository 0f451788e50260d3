package registrar_test

import (
	"testing"
	"time"

	"wakebridge/sipua"
)

// A real log-out does what the user wants.
func TestLogOut(t *testing.T) {
	for name, how := range map[string]func(p *phone) []string{
		"its Contact":             func(p *phone) []string { return []string{p.contact("", instance(phone1)+";expires=0")} },
		"its Contact, by Expires": func(p *phone) []string { return []string{p.contact(push(token1), instance(phone1)), "Expires: 0"} },
		"everything":              func(*phone) []string { return []string{"Contact: *", "Expires: 0"} },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				o, p := sleeper(t)
				if c := values(p.must(200, how(p)...), "Contact"); len(c) != 0 {
					t.Errorf("left %q", c)
				}
				p.sleep()
				time.Sleep(59 * time.Second)
				o.wantWakeable(true)
				time.Sleep(2 * time.Second)
				for _, d := range o.mem.Devices(alice) {
					if d.Wakeable {
						t.Errorf("%+v", d)
					}
				}
			})
		})
	}
}

// What the phone left behind when it changed its network does not keep it logged in:
// no request of its own can remove that any more.
func TestLogOutAfterAChangeOfNetwork(t *testing.T) {
	for _, proto := range []sipua.Transport{sipua.UDP, sipua.TCP} {
		t.Run(proto.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				o := newOffice(t)
				p, q := o.phone("alice", aliceHost, proto), o.phone("alice", bobHost, proto)
				p.must(200, p.contact(push(token1), instance(phone1)))
				q.must(200, q.contact(push(token1), instance(phone1)))
				o.watch()
				if left := values(q.must(200, q.contact("", instance(phone1)+";expires=0")), "Contact"); len(left) != 0 {
					t.Errorf("left %q", left)
				}
				if got := o.changed(); got != "unregistered@0s unregistered@0s" {
					t.Errorf("told: %s", got)
				}
				time.Sleep(2 * time.Minute)
				for _, d := range o.mem.Devices(alice) {
					if d.Wakeable {
						t.Errorf("%+v", d)
					}
				}
			})
		})
	}
}

// The same behind an edge proxy, whose one connection brings all of it.
func TestLogOutBehindAProxyAfterAChangeOfNetwork(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		const path = "Path: <sip:edge.example.com;lr>"
		at := func(host, uri, more string) string {
			return "Contact: <sip:alice@" + host + uri + ">" + instance(phone1) + more
		}
		p.must(200, at("192.0.2.1", push(token1), ""), path)
		time.Sleep(time.Minute)
		p.must(200, at("192.0.2.2", push(token1), ""), path)
		p.must(200, at("192.0.2.2", "", ";expires=0"), path)
		time.Sleep(2 * time.Minute)
		for _, d := range o.mem.Devices(alice) {
			if d.Wakeable || len(d.Bindings) > 0 {
				t.Errorf("%+v", d)
			}
		}
	})
}

// A second Contact at the same place, or one with a reg-id of its own, is no left-over.
func TestLogOutOfOneContactLeavesTheOthers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		for name, regIDs := range map[string][2]string{"at one place": {}, "by reg-id": {";reg-id=1", ";reg-id=2"}} {
			o := newOffice(t)
			p := o.phone("alice", aliceHost, sipua.TCP)
			q := p
			if regIDs[0] != "" {
				q = o.phone("alice", bobHost, sipua.TCP)
			}
			p.must(200, "Contact: <sip:alice@10.0.0.2:1"+push(token1)+">"+instance(phone1)+regIDs[0])
			q.must(200, "Contact: <sip:alice@10.0.0.2:2"+push(token1)+">"+instance(phone1)+regIDs[1])
			q.must(200, "Contact: <sip:alice@10.0.0.2:2"+push(token1)+">"+instance(phone1)+regIDs[1]+";expires=0")
			time.Sleep(2 * time.Minute)
			if d := o.device(); len(d.Bindings) != 1 || !d.Wakeable || !d.LogoutDue.IsZero() {
				t.Errorf("%s: %+v", name, d)
			}
		}
	})
}

// A log-out after the connection and the binding are long gone, by what the phone is.
func TestLogOutOfAnExpiredBinding(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		p.sleep()
		time.Sleep(8 * 24 * time.Hour)
		p.connect()
		p.must(200, p.contact("", instance(phone1)+";expires=0"))
		time.Sleep(2 * time.Minute)
		for _, d := range o.mem.Devices(alice) {
			if d.Wakeable {
				t.Errorf("%+v", d)
			}
		}
	})
}

// Contact "*" from one phone lets the user's other phones fall asleep, and no more.
func TestLogOutOfEverythingSparesOtherPhones(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o, p := sleeper(t)
		q := o.phone("alice", bobHost, sipua.TCP)
		q.must(200, q.contact(push(token2), instance(phone2)))
		q.sleep()
		p.must(200, "Contact: *", "Expires: 0")
		time.Sleep(2 * time.Minute)
		for _, d := range o.mem.Devices(alice) {
			if d.Wakeable != (d.Instance == phone2) {
				t.Errorf("%+v", d)
			}
		}
	})
}

// A desk phone that removes everything when it starts, over a connection that nobody
// knows, lets an iPhone fall asleep that cannot come back by itself; and no more.
func TestDeskPhoneThatStartsSparesTheSleepingPhone(t *testing.T) {
	restart := func(q *phone) {
		q.sleep()
		q.connect()
		q.callID = "after the start"
	}
	const desk, app = "User-Agent: Grandstream GXP2170 1.0.9.135", "User-Agent: Phone/3.1 (iOS 26.1)"
	for name, before := range map[string]func(o *office, q *phone){
		"it was registered": func(_ *office, q *phone) {
			q.must(200, q.contact("", ""), desk)
			restart(q)
		},
		"it was registered with an instance": func(_ *office, q *phone) {
			q.must(200, q.contact("", instance(phone2)), desk)
			restart(q)
		},
		"its binding has run out": func(_ *office, q *phone) {
			q.must(200, q.contact("", ""), desk)
			q.sleep()
			time.Sleep(2 * time.Hour)
			restart(q)
		},
		"nobody knows it": func(*office, *phone) {},
		"its device says nothing of itself, on this very connection": func(_ *office, q *phone) {
			q.must(200, q.contact("", ""), desk)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				o := newOffice(t)
				p := o.phone("alice", aliceHost, sipua.TCP)
				p.must(200, p.contact(push(token1), instance(phone1)), app)
				p.sleep()
				q := o.phone("alice", bobHost, sipua.TCP)
				before(o, q)
				q.must(200, "Contact: *", "Expires: 0", desk)
				q.must(200, q.contact("", ""), desk)
				time.Sleep(2 * time.Minute)
				for _, d := range o.mem.Devices(alice) {
					if d.Instance == phone1 {
						if !d.Wakeable {
							t.Errorf("%+v", d)
						}
						return
					}
				}
				t.Error("the phone is forgotten")
			})
		})
	}
}

// The user's only phone is known by that, over whatever connection.
func TestLogOutOfEverythingOverANewConnection(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		p.must(200, p.contact(push(token1), instance(phone1)), "User-Agent: Phone/3.1 (iOS 26.1)")
		p.sleep()
		p.connect()
		p.callID = "after an update"
		p.must(200, "Contact: *", "Expires: 0", "User-Agent: Phone/3.2 (iOS 26.1)")
		time.Sleep(2 * time.Minute)
		for _, d := range o.mem.Devices(alice) {
			if d.Wakeable {
				t.Errorf("%+v", d)
			}
		}
	})
}

// Removing one reg-id leaves the other.
func TestRemoveOneRegID(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		p := o.phone("alice", aliceHost, sipua.TCP)
		q := o.phone("alice", aliceHost, sipua.TCP)
		same := "Contact: <sip:alice@10.0.0.2;ob" + push(token1) + ">" + instance(phone1)
		p.must(200, same+";reg-id=1")
		q.must(200, same+";reg-id=2")
		if n := len(o.device().Bindings); n != 2 {
			t.Fatalf("%d bindings", n)
		}
		q.must(200, same+";reg-id=1;expires=0")
		if d := o.device(); len(d.Bindings) != 1 || d.Bindings[0].RegID != 2 {
			t.Errorf("%+v", d.Bindings)
		}
	})
}
