package iphone_test

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/push"
	"wakebridge/sipua/iphone"
)

// alert is an alert push as our server writes it.
func (w *world) alert(in incoming, change func(*push.Notification)) {
	w.t.Helper()
	n := push.Notification{Kind: push.Alert, UUID: in.id.String(), CallID: in.callID, Name: "Alice", Handle: "201", SentAt: time.Now()}
	change(&n)
	b, err := push.Payload(n, nil)
	w.must(err)
	w.pushBytes("alert", b)
}

func call(*push.Notification)         {}
func missedCall(n *push.Notification) { n.Missed = true }
func testPush(n *push.Notification)   { n.Test = true }

// A notification of a call, of one that was missed and of an operator's test is
// shown, and starts no app; another type is a fault of the server's.
func TestNotificationsOfEachType(t *testing.T) {
	for kind, c := range map[string]struct {
		change func(*push.Notification)
		title  string
	}{"call": {call, "Alice"}, "missed": {missedCall, "Alice"}, "test": {testPush, "Wakebridge test"}} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			after, in := w.asleep(), newIncoming()
			w.alert(in, c.change)
			if e := w.see(after, iphone.Notified); e.UUID != in.id || e.Text != c.title {
				t.Errorf("%s: %+v", kind, e)
			}
			time.Sleep(time.Minute)
			w.tells(after, "push received", "notification shown")
		})
	}
	inWorld(t, nil, func(t *testing.T, w *world) {
		after := w.asleep()
		w.push("alert", newIncoming(), func(p map[string]any) { p["type"] = "cancel" })
		w.see(after, iphone.Notified)
		if v := w.phone.Violations(); len(v) != 1 || v[0].Rule != iphone.RulePayload {
			t.Errorf("%+v", v)
		}
	})
}

// A VoIP push is of a call: one of a missed call or a test would have to be reported,
// and there is no call to answer.
func TestVoIPPushesAreOfCalls(t *testing.T) {
	for _, kind := range []string{"missed", "test", "cancel"} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			after := w.asleep()
			w.push("voip", newIncoming(), func(p map[string]any) { p["type"] = kind })
			if e := w.see(after, iphone.Ended); e.Reason != iphone.Failed {
				t.Errorf("%s: %+v", kind, e)
			}
			if v := w.phone.Violations(); len(v) != 1 || v[0].Rule != iphone.RulePayload {
				t.Errorf("%s: %+v", kind, v)
			}
		})
	}
}

// The word of a missed call takes the place of the call's notification; that of a
// test stands beside it.
func TestAMissedCallReplacesItsNotification(t *testing.T) {
	inWorld(t, nil, func(t *testing.T, w *world) {
		after, in := w.asleep(), newIncoming()
		w.alert(in, call)
		w.alert(in, missedCall)
		w.alert(newIncoming(), testPush)
		synctest.Wait()
		for range 2 {
			w.must(w.phone.Tap())
			w.see(after, iphone.Registered)
		}
		if err := w.phone.Tap(); !errors.Is(err, iphone.ErrNoNotification) {
			t.Errorf("a third notification: %v", err)
		}
		w.clean()
	})
}

// The phone reads what the server writes: each type is said in the payload.
func TestTypesOfAlerts(t *testing.T) {
	for want, change := range map[string]func(*push.Notification){"call": call, "missed": missedCall, "test": testPush} {
		n := push.Notification{Kind: push.Alert, UUID: newIncoming().id.String(), SentAt: time.Now()}
		change(&n)
		b, err := push.Payload(n, nil)
		var p struct{ Type string }
		if err != nil || json.Unmarshal(b, &p) != nil || p.Type != want {
			t.Errorf("%s: %s, %v", want, b, err)
		}
	}
}
