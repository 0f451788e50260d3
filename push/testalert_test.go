package push

import (
	"strings"
	"testing"
)

// A test alert is the same in each layout and is no call; a VoIP push that tests
// stays the call that the app must report.
func TestAlertThatTests(t *testing.T) {
	n := aCall(Alert)
	n.Test = true
	other := func(Notification) any { return "another layout" }
	for _, layout := range []Template{nil, other} {
		got, err := Payload(n, layout)
		want := `{"aps":{"alert":{"title":"Wakebridge test","body":"Pushes reach this phone."},"sound":"default"},` +
			`"v":1,"type":"test","uuid":"6f1c2a7e-98f5-4c32-9b1c-0d4f3a2b1c0d","sent_at":1700000000123}`
		if err != nil || string(got) != want {
			t.Errorf("%s %v\nwant %s", got, err, want)
		}
	}
	n.Kind = VoIP
	if got, err := Payload(n, nil); err != nil || !strings.Contains(string(got), `"type":"call"`) {
		t.Errorf("%s %v", got, err)
	}
}
