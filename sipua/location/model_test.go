package location_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"wakebridge/sipua"
	"wakebridge/sipua/location"
	"wakebridge/sipua/location/locationtest"
)

// modelDevice is what the rules promise about one device, told as simply as
// possible.
type modelDevice struct {
	token                string
	announced, seen      time.Time
	contacts             map[string]modelBinding
	logoutDue, tokensDue time.Time
	loggedOut            bool
}

type modelBinding struct {
	expires time.Time
	flow    location.FlowID
	order   int // of its REGISTER
}

type model map[location.Ref]*modelDevice

func (m model) wakeable(ref location.Ref) bool {
	d := m[ref]
	return d != nil && d.token != "" && !d.loggedOut && time.Since(d.seen) < 90*day
}

// show is what a reader can see of a device, in one string.
func (m model) show(ref location.Ref) string {
	out := fmt.Sprint(m.wakeable(ref))
	if d := m[ref]; d != nil {
		for _, contact := range slices.Sorted(maps.Keys(d.contacts)) {
			if b := d.contacts[contact]; b.expires.After(time.Now()) {
				out += fmt.Sprintf(" %s/%d", contact, b.flow)
			}
		}
	}
	return out
}

func show(m *location.Memory, ref location.Ref) string {
	d, ok := m.Device(ref)
	out := fmt.Sprint(ok && d.Wakeable)
	var contacts []string
	for _, b := range d.Bindings {
		contacts = append(contacts, fmt.Sprintf("%s/%d", b.Contact, b.Flow))
	}
	slices.Sort(contacts)
	return strings.Join(append([]string{out}, contacts...), " ")
}

func (m model) register(u location.Upsert) {
	ref := location.Ref{AOR: u.AOR, Key: u.Binding.Instance}
	d := m[ref]
	if d == nil {
		d = &modelDevice{contacts: map[string]modelBinding{}}
		m[ref] = d
	}
	now := time.Now()
	for c, b := range d.contacts {
		if b.flow == 0 { // left behind on a dead connection
			delete(d.contacts, c)
		}
	}
	order := 1
	for _, b := range d.contacts {
		order = max(order, b.order+1)
	}
	d.contacts[u.Binding.Contact] = modelBinding{u.Binding.Expires, u.Binding.Flow, order}
	d.seen, d.loggedOut, d.logoutDue = now, false, time.Time{}
	switch u.Announced {
	case location.Tokens:
		for other, o := range m {
			if o.token == u.Push.VoIP.Value && other.Key != ref.Key {
				o.token = ""
			}
		}
		d.token, d.announced, d.tokensDue = u.Push.VoIP.Value, now, time.Time{}
	case location.NoTokens:
		if d.token != "" && d.tokensDue.IsZero() {
			d.tokensDue = now.Add(time.Minute)
		}
	}
}

func (m model) remove(ref location.Ref, contact string) {
	d := m[ref]
	if d == nil {
		return
	}
	if gone, ok := d.contacts[contact]; ok {
		maps.DeleteFunc(d.contacts, func(_ string, b modelBinding) bool { return b.order < gone.order && b.flow != gone.flow })
		delete(d.contacts, contact)
	}
	for _, b := range d.contacts {
		if b.expires.After(time.Now()) {
			return
		}
	}
	if d.logoutDue.IsZero() && !d.loggedOut {
		d.logoutDue = time.Now().Add(time.Minute)
	}
}

func (m model) expire() {
	reached := func(t time.Time) bool { return !t.IsZero() && !t.After(time.Now()) }
	for ref, d := range m {
		maps.DeleteFunc(d.contacts, func(_ string, b modelBinding) bool { return reached(b.expires) })
		if reached(d.tokensDue) {
			d.token, d.tokensDue = "", time.Time{}
		}
		if reached(d.logoutDue) {
			d.token, d.loggedOut, d.logoutDue, d.tokensDue = "", true, time.Time{}, time.Time{}
		}
		if len(d.contacts) == 0 && !m.wakeable(ref) {
			delete(m, ref)
		}
	}
}

// Random histories of five devices of two users leave memory, and what a
// restart makes of its journal, as the model says; and neither a lost flow nor
// an expired binding ever costs a device that could be woken.
func TestModel(t *testing.T) {
	users := []sipua.AOR{alice, bob}
	instances := []string{"i1", "i2", "i3"}
	contacts := []string{"sip:x@10.0.0.1", "sip:x@10.0.0.2", "sip:x@10.0.0.3"}
	tokens := []string{"aa11", "bb22", "cc33"}
	var refs []location.Ref
	for _, aor := range users {
		for _, i := range instances {
			refs = append(refs, location.Ref{AOR: aor, Key: i})
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		inBubble(t, func(t *testing.T) {
			store := &locationtest.Store{}
			mem, err := location.NewMemory(t.Context(), store, rules)
			if err != nil {
				rt.Fatal(err)
			}
			model := model{}
			var flow location.FlowID
			pick := func() location.Ref { return rapid.SampledFrom(refs).Draw(rt, "device") }
			same := func(when string) {
				for _, ref := range refs {
					if got, want := show(mem, ref), model.show(ref); got != want {
						rt.Fatalf("%s: %s is %q, want %q", when, ref, got, want)
					}
				}
			}
			wakeable := func() (out []location.Ref) {
				for _, ref := range refs {
					if d, ok := mem.Device(ref); ok && d.Wakeable {
						out = append(out, ref)
					}
				}
				return out
			}
			rt.Repeat(map[string]func(*rapid.T){
				"": func(rt *rapid.T) { same("memory") },
				"register": func(rt *rapid.T) {
					ref := pick()
					if rapid.Bool().Draw(rt, "new flow") {
						flow++
					}
					u := register(ref.AOR, ref.Key, rapid.SampledFrom(contacts).Draw(rt, "contact"), "", flow)
					u.Binding.Expires = time.Now().Add(rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 30 * day}).Draw(rt, "expires"))
					u.Announced = rapid.SampledFrom([]location.Announcement{location.NoTokens, location.Query, location.Tokens}).Draw(rt, "says")
					if u.Announced == location.Tokens {
						u.Push.VoIP.Value = rapid.SampledFrom(tokens).Draw(rt, "token")
					}
					model.register(u)
					apply(mem, u)
				},
				"remove": func(rt *rapid.T) {
					ref, contact := pick(), rapid.SampledFrom(contacts).Draw(rt, "contact")
					model.remove(ref, contact)
					apply(mem, location.RemoveBinding{AOR: ref.AOR, Contact: contact, Instance: ref.Key})
				},
				"flow gone": func(rt *rapid.T) {
					gone := location.FlowID(rapid.Uint64Range(1, uint64(flow)+1).Draw(rt, "flow"))
					for _, d := range model {
						for c, b := range d.contacts {
							if b.flow == gone {
								d.contacts[c] = modelBinding{b.expires, 0, b.order}
							}
						}
					}
					before := wakeable()
					apply(mem, location.FlowGone{Flow: gone})
					if !slices.Equal(before, wakeable()) {
						rt.Fatalf("the loss of a flow left %v of %v wakeable", wakeable(), before)
					}
				},
				"time": func(rt *rapid.T) {
					time.Sleep(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, time.Minute, time.Hour, 29 * day, 45 * day}).Draw(rt, "passes"))
					same("before Expire")
					var safe []location.Ref
					for _, ref := range wakeable() {
						if d := model[ref]; d.logoutDue.IsZero() && d.tokensDue.IsZero() {
							safe = append(safe, ref)
						}
					}
					model.expire()
					apply(mem, location.Expire{})
					for _, ref := range safe {
						if !slices.Contains(wakeable(), ref) {
							rt.Fatalf("%s expired though it could be woken", ref)
						}
					}
				},
				"token dead": func(rt *rapid.T) {
					dead, at := rapid.SampledFrom(tokens).Draw(rt, "token"), time.Now().Add(-rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(rt, "ago"))
					for _, d := range model {
						if d.token == dead && !d.announced.After(at) {
							d.token = ""
						}
					}
					apply(mem, location.RemoveToken{Kind: location.VoIP, Value: dead, NotAfter: at})
				},
				"log out": func(rt *rapid.T) {
					ref := pick()
					if d := model[ref]; d != nil {
						d.token, d.loggedOut, d.logoutDue, d.tokensDue = "", true, time.Time{}, time.Time{}
					}
					apply(mem, location.MarkLoggedOut{AOR: ref.AOR, Key: ref.Key})
				},
				"restart": func(rt *rapid.T) {
					if err := mem.Flush(t.Context()); err != nil {
						rt.Fatal(err)
					}
					if mem, err = location.NewMemory(t.Context(), store, rules); err != nil {
						rt.Fatal(err)
					}
					for _, d := range model {
						for c, b := range d.contacts {
							d.contacts[c] = modelBinding{b.expires, 0, b.order}
						}
					}
					same("after a restart")
				},
			})
		})
	})
}

// inBubble runs one case of rapid in a bubble of its own: rapid keeps real
// time, and gets to see the panic by which it ends a case.
func inBubble(t *testing.T, run func(*testing.T)) {
	var ended any
	synctest.Test(t, func(t *testing.T) {
		defer func() { ended = recover() }()
		run(t)
	})
	if ended != nil {
		panic(ended)
	}
}
