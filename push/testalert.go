package push

// testMessage is the alert by which an operator sees that pushes arrive. Its type
// is none that an app takes for a call.
type testMessage struct {
	APS    aps    `json:"aps"`
	V      int    `json:"v"`
	Type   string `json:"type"`
	UUID   string `json:"uuid"`
	SentAt int64  `json:"sent_at"` // UNIX ms
}

// testAlert is the layout of a Notification with Test.
func testAlert(n Notification) any {
	return testMessage{
		APS: aps{Alert: &alert{Title: "Wakebridge test", Body: "Pushes reach this phone."}, Sound: "default"},
		V:   1, Type: "test", UUID: n.UUID, SentAt: millis(n.SentAt),
	}
}
