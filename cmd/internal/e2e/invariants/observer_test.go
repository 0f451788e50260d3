package invariants

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/google/uuid"

	"wakebridge/bridge"
	"wakebridge/push/apnssim"
	"wakebridge/sipua"
	"wakebridge/sipua/iphone"
)

const id = "0f8fad5b-d9cb-469f-a165-70867728950e"

var began = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return began.Add(time.Duration(s * float64(time.Second))) }

// record is a call from second 0 to 10 with one device.
func record() bridge.Record {
	return bridge.Record{ID: "c", CallID: "a", Started: at(0), Ended: at(10), Result: bridge.Cancelled, Status: 487,
		Detail: bridge.Detail{Attempts: []bridge.AttemptRecord{{Device: "d", UUID: id}}}}
}

func voip(t *testing.T, seconds float64, kind, apnsID, token string) apnssim.Entry {
	t.Helper()
	b, err := json.Marshal(map[string]string{"type": kind, "uuid": id, "call_id": id + "@n1"})
	if err != nil {
		t.Fatal(err)
	}
	return apnssim.Entry{ReceivedAt: at(seconds), AnsweredAt: at(seconds + 0.01), Path: "/3/device/" + token, APNsID: apnsID, Payload: b,
		Header: []apnssim.Field{{Name: "apns-push-type", Value: "voip"}}, Verdict: apnssim.Verdict{Status: 200}}
}

// swallowed is a push that went to the device and whose answer did not come back.
func swallowed(e apnssim.Entry) apnssim.Entry {
	e.AnsweredAt, e.Fault, e.Delivery = time.Time{}, apnssim.Cut, apnssim.Handed
	return e
}

// undelivered is one that went nowhere, although it was to be accepted.
func undelivered(e apnssim.Entry) apnssim.Entry {
	e.Delivery = apnssim.Undecided
	return e
}

// refusal is a push that APNs refused.
func refusal(e apnssim.Entry, seconds float64, status int) apnssim.Entry {
	e.ReceivedAt, e.AnsweredAt = at(seconds), at(seconds+0.01)
	e.Verdict = apnssim.Verdict{Status: status, Reason: "Reason"}
	return e
}

func TestPushes(t *testing.T) {
	ok := voip(t, 1, "call", "x", "aa")
	for name, c := range map[string]struct {
		journal []apnssim.Entry
		want    string // "" for nothing
	}{
		"one":                  {[]apnssim.Entry{ok}, ""},
		"two without a hedge":  {[]apnssim.Entry{ok, ok}, "counts no hedge"},
		"three":                {[]apnssim.Entry{ok, ok, ok}, "3 VoIP pushes were accepted"},
		"another id":           {[]apnssim.Entry{ok, voip(t, 2, "call", "y", "aa")}, "2 apns-ids"},
		"another token":        {[]apnssim.Entry{ok, voip(t, 2, "call", "x", "bb")}, "two device tokens"},
		"after the end":        {[]apnssim.Entry{voip(t, 11, "call", "x", "aa")}, "lasted from"},
		"a push that cancels":  {[]apnssim.Entry{voip(t, 1, "cancel", "x", "aa")}, `type "cancel"`},
		"before the beginning": {[]apnssim.Entry{voip(t, -1, "call", "x", "aa")}, "lasted from"},
	} {
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(record())
		check(t, name, o.Check(c.journal), c.want)
	}
}

// Two accepted pushes are the hedge's, and the record of the VoIP push says so.
func TestHedgeIsCounted(t *testing.T) {
	ok := voip(t, 1, "call", "x", "aa")
	cut := swallowed(ok)
	for name, c := range map[string]struct {
		push    bridge.PushRecord
		journal []apnssim.Entry
		want    string
	}{
		"counted":                {bridge.PushRecord{Kind: "voip", Hedged: true}, []apnssim.Entry{ok, ok}, ""},
		"one push, hedged":       {bridge.PushRecord{Kind: "voip", Hedged: true}, []apnssim.Entry{ok}, ""},
		"not counted":            {bridge.PushRecord{Kind: "voip", Tries: 2}, []apnssim.Entry{ok, ok}, "counts no hedge"},
		"counted for the alert":  {bridge.PushRecord{Kind: "alert", Hedged: true}, []apnssim.Entry{ok, ok}, "counts no hedge"},
		"cut, and not counted":   {bridge.PushRecord{Kind: "voip", Tries: 2}, []apnssim.Entry{cut, ok}, "counts no hedge"},
		"cut, then accepted":     {bridge.PushRecord{Kind: "voip", Hedged: true}, []apnssim.Entry{cut, ok}, ""},
		"cut twice, accepted":    {bridge.PushRecord{Kind: "voip", Hedged: true}, []apnssim.Entry{cut, cut, ok}, "3 VoIP pushes were accepted"},
		"cut before delivery":    {bridge.PushRecord{Kind: "voip", Tries: 2}, []apnssim.Entry{undelivered(cut), ok}, ""},
		"three are never hedged": {bridge.PushRecord{Kind: "voip", Hedged: true}, []apnssim.Entry{ok, ok, ok}, "3 VoIP pushes were accepted"},
	} {
		r := record()
		r.Attempts[0].Pushes = []bridge.PushRecord{c.push}
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		check(t, name, o.Check(c.journal), c.want)
	}
}

func TestPhones(t *testing.T) {
	call := uuid.MustParse(id)
	reported := iphone.Event{Kind: iphone.Reported, UUID: call, At: at(1)}
	invited := iphone.Event{Kind: iphone.InviteReceived, UUID: call, At: at(2)}
	end := func(s float64) iphone.Event {
		return iphone.Event{Kind: iphone.Ended, UUID: call, At: at(s), Reason: iphone.RemoteEnded}
	}
	for name, c := range map[string]struct {
		phone Phone
		want  string
	}{
		"ended in time":      {Phone{Events: []iphone.Event{reported, invited, end(10)}}, ""},
		"ended late":         {Phone{Events: []iphone.Event{reported, invited, end(14)}}, "stays on the screen for 4s"},
		"never ended":        {Phone{Events: []iphone.Event{reported, invited}}, "stays on the screen"},
		"killed for a rule":  {Phone{Events: []iphone.Event{{Kind: iphone.Killed, Text: "no report"}}}, "was killed"},
		"killed by the user": {Phone{Events: []iphone.Event{{Kind: iphone.Killed, Text: "by the user"}}}, ""},
		"rung again after it died in the call": {Phone{Events: []iphone.Event{reported, {Kind: iphone.InviteReceived, UUID: call, At: at(2)}, {Kind: iphone.Ended, UUID: call, At: at(3), Reason: iphone.ByKill}},
			Violations: []iphone.Violation{{Rule: iphone.RuleInvite, UUID: call}}}, string(iphone.RuleInvite)},
		"rung again after it died": {Phone{Events: []iphone.Event{reported, {Kind: iphone.Ended, UUID: call, At: at(3), Reason: iphone.ByKill}},
			Violations: []iphone.Violation{{Rule: iphone.RuleInvite, UUID: call}}}, string(iphone.RuleInvite)},
		"died in the call, and back after it": {Phone{Events: []iphone.Event{reported, invited, {Kind: iphone.Ended, UUID: call, At: at(3), Reason: iphone.ByKill}, {Kind: iphone.Registered, At: at(11)}},
			Violations: []iphone.Violation{{Rule: iphone.RuleInvite, UUID: call}}}, string(iphone.RuleInvite)},
		"died in the call, and back within it": {Phone{Events: []iphone.Event{reported, invited, {Kind: iphone.Ended, UUID: call, At: at(3), Reason: iphone.ByKill}, {Kind: iphone.Registered, At: at(5)}},
			Violations: []iphone.Violation{{Rule: iphone.RuleInvite, UUID: call}}}, string(iphone.RuleInvite)},
		"died in the call that it answered, and back within it": {Phone{Events: []iphone.Event{reported, invited, {Kind: iphone.Accepted, UUID: call, At: at(2)},
			{Kind: iphone.Ended, UUID: call, At: at(3), Reason: iphone.ByKill}, {Kind: iphone.Registered, At: at(5)}},
			Violations: []iphone.Violation{{Rule: iphone.RuleInvite, UUID: call}}}, ""},
		"a rule that is broken": {Phone{Violations: []iphone.Violation{{Rule: iphone.RuleInvite, UUID: call}}}, string(iphone.RuleInvite)},
		"broken by design": {Phone{Events: []iphone.Event{{Kind: iphone.Killed, Text: "no report"}}, Violations: []iphone.Violation{{Rule: iphone.RuleReport}},
			Broken: Broken{Rule: iphone.RuleReport, Dies: true}}, ""},
		"another rule":        {Phone{Violations: []iphone.Violation{{Rule: iphone.RuleToken}}, Broken: Broken{Rule: iphone.RuleReport}}, "rule token is broken"},
		"broken in vain":      {Phone{Broken: Broken{Rule: iphone.RuleReport}}, "kept the rule report-before-return"},
		"it does not die":     {Phone{Broken: Broken{Dies: true}}, "was not killed"},
		"killed and not dies": {Phone{Events: []iphone.Event{{Kind: iphone.Killed, Text: "kill -9"}}, Broken: Broken{Rule: iphone.RuleReport}}, "was killed"},
	} {
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(record())
		check(t, name, o.Check(nil, c.phone), c.want)
	}
}

// A push without INVITE or fate is excused only if the server could not know that
// the device was woken: its answer was lost, and the last word was a refusal.
func TestRefused(t *testing.T) {
	ok := voip(t, 3, "call", "x", "aa")
	lost, no := swallowed(voip(t, 1, "call", "x", "aa")), refusal(ok, 2, 410)
	onBroken := func(e apnssim.Entry) apnssim.Entry {
		e.Conn, e.Fault = 7, apnssim.Cut
		return e
	}
	for name, c := range map[string]struct {
		journal []apnssim.Entry
		excused bool
	}{
		"delivered unheard, then refused":   {[]apnssim.Entry{lost, no}, true},
		"the yes went down with its line":   {[]apnssim.Entry{onBroken(voip(t, 1, "call", "x", "aa")), no}, true},
		"refused, then accepted":            {[]apnssim.Entry{refusal(ok, 1, 503), ok}, false},
		"refused, then delivered unheard":   {[]apnssim.Entry{refusal(ok, 0.5, 503), lost}, false},
		"unheard, refused, accepted":        {[]apnssim.Entry{lost, no, ok}, false},
		"accepted, then refused":            {[]apnssim.Entry{voip(t, 1, "call", "x", "aa"), no}, false},
		"only refused, so nobody was woken": {[]apnssim.Entry{no}, false},
		"swallowed and not delivered":       {[]apnssim.Entry{undelivered(lost), no}, false},
	} {
		r := record()
		r.Attempts[0].Pushes = []bridge.PushRecord{{Kind: "voip", Hedged: true}}
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		want := string(iphone.RuleInvite)
		if c.excused {
			want = ""
		}
		check(t, name, o.Check(c.journal, Phone{Violations: []iphone.Violation{{Rule: iphone.RuleInvite, UUID: uuid.MustParse(id)}}}), want)
	}
}

// A phone that is online does not give a call up by itself.
func TestEarlyEnds(t *testing.T) {
	call := uuid.MustParse(id)
	event := func(kind iphone.Kind, s float64) iphone.Event { return iphone.Event{Kind: kind, UUID: call, At: at(s)} }
	end := func(why iphone.Reason) iphone.Event {
		return iphone.Event{Kind: iphone.Ended, UUID: call, At: at(8), Reason: why}
	}
	reported, invited := event(iphone.Reported, 1), event(iphone.InviteReceived, 2)
	lost, back := iphone.Event{Kind: iphone.FlowLost, At: at(3)}, iphone.Event{Kind: iphone.Registered, At: at(4)}
	const early = "left the screen"
	for name, c := range map[string]struct {
		events []iphone.Event
		rules  []iphone.Violation
		cancel float64 // when the server sent one; 0: none
		want   string
	}{
		"unanswered":                     {events: []iphone.Event{reported, invited, end(iphone.Unanswered)}, want: early},
		"failed":                         {events: []iphone.Event{reported, invited, end(iphone.Failed)}, want: early},
		"hung up":                        {events: []iphone.Event{reported, invited, end(iphone.ByUser)}},
		"lost the INVITE, and came back": {events: []iphone.Event{reported, invited, lost, back, end(iphone.Unanswered)}, want: early},
		"lost the INVITE for good":       {events: []iphone.Event{reported, invited, lost, end(iphone.Unanswered)}},
		"never registered":               {events: []iphone.Event{reported, end(iphone.Unanswered)}},
		"told its fate":                  {events: []iphone.Event{reported, back, event(iphone.FateTold, 8), end(iphone.Unanswered)}},
		"refused":                        {events: []iphone.Event{reported, invited, event(iphone.Declined, 8), end(iphone.Failed)}},
		"cancelled":                      {events: []iphone.Event{reported, invited, end(iphone.Unanswered)}, cancel: 7.9},
		"cancelled long before":          {events: []iphone.Event{reported, invited, end(iphone.Unanswered)}, cancel: 3, want: early},
		"cancelled afterwards":           {events: []iphone.Event{reported, invited, end(iphone.Unanswered)}, cancel: 9, want: early},
		"for a broken rule": {events: []iphone.Event{reported, invited, end(iphone.Failed)}, rules: []iphone.Violation{{Rule: iphone.RuleAction, UUID: call}},
			want: "rule action-once-in-time"},
	} {
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(record())
		if c.cancel > 0 {
			req := sip.NewRequest(sip.CANCEL, sip.Uri{Scheme: "sip", User: "alice", Host: "h"})
			req.AppendHeader(sip.NewHeader("Call-ID", strings.ToUpper(id)+"@n1"))
			o.Saw(sipua.Traffic{Sent: true, At: at(c.cancel), Message: req})
		}
		broken := o.Check(nil, Phone{Events: c.events, Violations: c.rules})
		check(t, name, broken, c.want)
		if c.want != early && strings.Contains(strings.Join(broken, ""), early) {
			t.Errorf("%s: %q", name, broken)
		}
	}
}

// A phone that was away when its call ended is told so when it registers: in time, and
// why.
func TestFates(t *testing.T) {
	call := uuid.MustParse(id)
	event := func(kind iphone.Kind, s float64) iphone.Event { return iphone.Event{Kind: kind, UUID: call, At: at(s)} }
	end := func(s float64, why iphone.Reason) iphone.Event {
		return iphone.Event{Kind: iphone.Ended, UUID: call, At: at(s), Reason: why}
	}
	reported, invited, lost := event(iphone.Reported, 1), event(iphone.InviteReceived, 2), iphone.Event{Kind: iphone.FlowLost, At: at(3)}
	back := func(s float64) iphone.Event { return iphone.Event{Kind: iphone.Registered, At: at(s)} }
	const late, why = "stays on the screen for", "answered by another device"
	for name, c := range map[string]struct {
		events []iphone.Event
		want   string
	}{
		"told at once":                 {[]iphone.Event{reported, back(12), end(12.1, iphone.AnsweredElsewhere)}, ""},
		"told late":                    {[]iphone.Event{reported, back(12), end(16, iphone.AnsweredElsewhere)}, late},
		"told the wrong reason":        {[]iphone.Event{reported, back(12), end(12.1, iphone.Unanswered)}, why},
		"lost the INVITE, told":        {[]iphone.Event{reported, invited, lost, back(12), end(12.1, iphone.AnsweredElsewhere)}, ""},
		"lost the INVITE, told late":   {[]iphone.Event{reported, invited, lost, back(12), end(16, iphone.AnsweredElsewhere)}, late},
		"lost the INVITE, told wrong":  {[]iphone.Event{reported, invited, lost, back(12), end(12.1, iphone.Failed)}, why},
		"back right after the end":     {[]iphone.Event{reported, invited, lost, back(10.5), end(16, iphone.Failed)}, late},
		"back right before the end":    {[]iphone.Event{reported, invited, lost, back(9.9), end(16, iphone.Failed)}, late},
		"gives up before it registers": {[]iphone.Event{reported, invited, lost, end(20, iphone.Failed)}, ""},
		"lost again before it is told": {[]iphone.Event{reported, back(12), {Kind: iphone.FlowLost, At: at(12.1)}, back(20), end(20.1, iphone.AnsweredElsewhere)}, ""},
		"lost again, then told late":   {[]iphone.Event{reported, back(12), {Kind: iphone.FlowLost, At: at(12.1)}, back(20), end(24, iphone.AnsweredElsewhere)}, late},
	} {
		r := record()
		r.Result, r.Status, r.Answered = bridge.Answered, 200, at(5)
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		check(t, name, o.Check(nil, Phone{Events: c.events}), c.want)
	}
}

// Who loses to another device is told that.
func TestLosers(t *testing.T) {
	r := record()
	r.Result, r.Status, r.Answered = bridge.Answered, 200, at(5)
	for reason, want := range map[iphone.Reason]string{iphone.AnsweredElsewhere: "", iphone.RemoteEnded: "answered by another device"} {
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		call := uuid.MustParse(id)
		check(t, string(reason), o.Check(nil, Phone{Events: []iphone.Event{{Kind: iphone.Reported, UUID: call, At: at(1)},
			{Kind: iphone.InviteReceived, UUID: call, At: at(2)}, {Kind: iphone.Ended, UUID: call, At: at(5.1), Reason: reason}}}), want)
	}
}

func TestRegisterToInvite(t *testing.T) {
	for name, c := range map[string]struct {
		registered, invited, answered float64 // 0: never
		fate                          bool
		want                          string
	}{
		"fast":                         {2, 2.1, 0, false, ""},
		"slow":                         {2, 2.5, 0, false, "invited 500ms later"},
		"never":                        {2, 0, 0, false, "fate, 8s before"},
		"told of its fate":             {2, 0, 0, true, ""},
		"never, and another one takes": {2, 0, 5, false, "fate, 3s before"},
		"right before the end":         {9.9, 0, 0, false, ""},
		"after another one answered":   {6, 0, 5, false, ""},
		"invited before":               {2, 1, 0, false, ""},
	} {
		when := func(s float64) time.Time {
			if s == 0 {
				return time.Time{}
			}
			return at(s)
		}
		r := record()
		r.Answered, r.Attempts[0].Registered, r.Attempts[0].Invited = when(c.answered), when(c.registered), when(c.invited)
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		if c.fate {
			o.fates[id] = true
		}
		check(t, name, o.Check(nil), c.want)
	}
}

func check(t *testing.T, name string, broken []string, want string) {
	t.Helper()
	switch {
	case want == "" && len(broken) > 0:
		t.Errorf("%s: %q", name, broken)
	case want != "" && !strings.Contains(strings.Join(broken, "\n"), want):
		t.Errorf("%s: %q, not %q", name, broken, want)
	}
}
