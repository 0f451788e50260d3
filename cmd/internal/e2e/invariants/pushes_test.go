package invariants

import (
	"encoding/json"
	"testing"
	"time"

	"wakebridge/bridge"
	"wakebridge/push/apnssim"
)

// A token that was called dead in one call gets no push in the next, unless the word
// came when nobody waited for it.
func TestDeadTokens(t *testing.T) {
	const laterID = "5f0f5b1c-0000-4000-8000-000000000002"
	later := record()
	later.ID, later.CallID, later.Started, later.Ended = "d", "b", at(20), at(30)
	later.Attempts = []bridge.AttemptRecord{{Device: "d", UUID: laterID}}
	gone := voip(t, 1, "call", "x", "aa")
	gone.Seq, gone.Verdict = 1, apnssim.Verdict{Status: 410, Reason: "Unregistered", Timestamp: at(0)}
	again := voip(t, 21, "call", "y", "aa")
	again.Seq, again.Verdict = 2, apnssim.Verdict{Status: 410, Reason: "Unregistered"}
	again.Payload, _ = json.Marshal(map[string]string{"type": "call", "uuid": laterID, "call_id": laterID + "@n1"})
	other := func(apnsID string, received, answered float64) apnssim.Entry {
		e := voip(t, received, "call", apnsID, "aa")
		e.Seq, e.AnsweredAt, e.Verdict = 3, at(answered), apnssim.Verdict{Status: 403, Reason: "InvalidProviderToken"}
		return e
	}
	const broken = "goes to a token that was answered 410"
	for name, c := range map[string]struct {
		journal []apnssim.Entry
		want    string
	}{
		"pushed again":                    {[]apnssim.Entry{gone, again}, broken},
		"the hedge was answered first":    {[]apnssim.Entry{gone, again, other("x", 0.5, 1.005)}, ""},
		"another push was answered first": {[]apnssim.Entry{gone, again, other("z", 0.5, 1.005)}, broken},
		"it was sent again, unheard":      {[]apnssim.Entry{gone, again, other("x", 1.02, 1.03)}, ""},
		"it was the second try":           {[]apnssim.Entry{gone, again, other("x", 0.5, 0.9)}, broken},
	} {
		o := New(Limits{Ring: 50 * time.Second})
		o.Recorded(record())
		o.Recorded(later)
		check(t, name, o.Check(c.journal), c.want)
	}
}
