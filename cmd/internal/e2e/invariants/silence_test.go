package invariants

import (
	"encoding/json"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/push/apnssim"
)

// request is a VoIP push that came then over a connection, expires after 8 s and had no
// answer.
func request(t *testing.T, seconds float64, conn uint64, fault apnssim.Fault) apnssim.Entry {
	t.Helper()
	e := voip(t, seconds, "call", "x", "aa")
	b, err := json.Marshal(map[string]any{"type": "call", "uuid": id, "call_id": id + "@n1", "expires_at": at(8).UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	e.Payload, e.Conn, e.Fault, e.AnsweredAt, e.Verdict = b, conn, fault, time.Time{}, apnssim.Verdict{}
	return e
}

// answered is one that APNs accepted then.
func answered(e apnssim.Entry, seconds float64) apnssim.Entry {
	e.AnsweredAt, e.Verdict = at(seconds), apnssim.Verdict{Status: 200}
	return e
}

// foreign is a request for the push of another call, an operator's test.
func foreign(e apnssim.Entry) apnssim.Entry {
	e.APNsID, e.Payload = "y", []byte(`{"type":"call","uuid":"`+tested+`"}`)
	return e
}

const tested = "9f0f5b1c-0000-4000-8000-000000000009"

// A push without answer goes out again, over another connection and within 1.6 s, while
// its call waits.
func TestSilences(t *testing.T) {
	first := request(t, 1, 1, apnssim.Blackhole)
	hedge := func(seconds float64, conn uint64) apnssim.Entry {
		return answered(request(t, seconds, conn, ""), seconds+0.01)
	}
	const never, late = "went out on no second path", "went out again after 6s"
	for name, c := range map[string]struct {
		journal []apnssim.Entry
		change  func(a *bridge.AttemptRecord, p *bridge.PushRecord)
		want    string
	}{
		"hedged":                       {journal: []apnssim.Entry{first, hedge(2.5, 2)}},
		"never":                        {journal: []apnssim.Entry{first}, want: never},
		"late":                         {journal: []apnssim.Entry{first, hedge(7, 2)}, want: late},
		"the same path":                {journal: []apnssim.Entry{first, hedge(2.5, 1)}, want: "on the same dead path"},
		"a stream that hangs":          {journal: []apnssim.Entry{request(t, 1, 1, apnssim.Hang)}, want: never},
		"a stream that is reset":       {journal: []apnssim.Entry{request(t, 1, 1, apnssim.Reset)}},
		"answered late":                {journal: []apnssim.Entry{answered(request(t, 1, 1, apnssim.Delay), 4)}, want: never},
		"answered in time":             {journal: []apnssim.Entry{answered(request(t, 1, 1, apnssim.Delay), 2.5)}},
		"on a path that was dead":      {journal: []apnssim.Entry{foreign(request(t, -5, 1, apnssim.Blackhole)), answered(request(t, 1, 1, ""), 1.01)}, want: never},
		"it was answered all the same": {journal: []apnssim.Entry{first}, change: func(_ *bridge.AttemptRecord, p *bridge.PushRecord) { p.At, p.LatencyMS = at(1.03), 40 }},
		"behind one on a new path":     {journal: []apnssim.Entry{foreign(answered(request(t, 0.5, 2, apnssim.Delay), 6.9)), first, hedge(7, 2)}},
		"beside one on a warm path": {journal: []apnssim.Entry{foreign(answered(request(t, -9, 2, ""), -8)), foreign(answered(request(t, 0.5, 2, apnssim.Delay), 6.9)), first, hedge(7, 2)},
			want: late},
		"refused, then silence":       {journal: []apnssim.Entry{refusal(first, 0.5, 503), first}, want: never},
		"silent, too short before":    {journal: []apnssim.Entry{request(t, 7, 1, apnssim.Hang)}},
		"the device registered":       {journal: []apnssim.Entry{first}, change: func(a *bridge.AttemptRecord, _ *bridge.PushRecord) { a.Registered = at(2) }},
		"it registered later":         {journal: []apnssim.Entry{first}, change: func(a *bridge.AttemptRecord, _ *bridge.PushRecord) { a.Registered = at(3) }, want: never},
		"the hedge never came there":  {journal: []apnssim.Entry{first}, change: func(_ *bridge.AttemptRecord, p *bridge.PushRecord) { p.Tries = 2 }},
		"the hedge was first":         {journal: []apnssim.Entry{first, hedge(7, 2)}, change: func(_ *bridge.AttemptRecord, p *bridge.PushRecord) { p.LatencyMS = 10500 }},
		"begun a moment before, late": {journal: []apnssim.Entry{first, hedge(7, 2)}, change: func(_ *bridge.AttemptRecord, p *bridge.PushRecord) { p.LatencyMS = 9020 }, want: late},
	} {
		r := record()
		p := bridge.PushRecord{Kind: "voip", Accepted: true, Hedged: true, Tries: 1, At: at(10), LatencyMS: 9010}
		if c.change != nil {
			c.change(&r.Attempts[0], &p)
		}
		r.Attempts[0].Invited = r.Attempts[0].Registered
		r.Attempts[0].Pushes = []bridge.PushRecord{p}
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		o.Tests(tested)
		check(t, name, o.Check(c.journal), c.want)
	}
}

// A call that no push brought to any device ends with 480, and says why.
func TestUnreached(t *testing.T) {
	refused := bridge.AttemptRecord{Device: "d", UUID: id, Pushes: []bridge.PushRecord{{Kind: "voip", Reason: "BadDeviceToken"}}}
	const broken = "no push was accepted"
	for name, c := range map[string]struct {
		change func(r *bridge.Record)
		want   string
	}{
		"480":              {change: func(*bridge.Record) {}},
		"without a reason": {func(r *bridge.Record) { r.Reason = "" }, broken},
		"503":              {func(r *bridge.Record) { r.Status = 503 }, broken},
		"cancelled":        {func(r *bridge.Record) { r.Status, r.Result = 487, bridge.Cancelled }, ""},
		"one was invited":  {func(r *bridge.Record) { r.Status, r.Attempts[0].Invited = 486, at(1) }, ""},
		"one was accepted": {func(r *bridge.Record) { r.Status, r.Attempts[0].Pushes[0].Accepted = 486, true }, ""},
		"another device rang": {func(r *bridge.Record) {
			r.Status, r.Attempts = 486, append(r.Attempts, bridge.AttemptRecord{Device: "e"})
		}, ""},
		"two were not reached": {func(r *bridge.Record) {
			r.Status, r.Attempts = 486, append(r.Attempts, bridge.AttemptRecord{Device: "e", Pushes: refused.Pushes})
		}, broken},
	} {
		r := record()
		r.Result, r.Status, r.Reason = bridge.Unreachable, 480, "APNs refused the token"
		attempt := refused
		attempt.Pushes = append([]bridge.PushRecord(nil), refused.Pushes...)
		r.Attempts = []bridge.AttemptRecord{attempt}
		c.change(&r)
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(r)
		check(t, name, o.Check(nil), c.want)
	}
}
