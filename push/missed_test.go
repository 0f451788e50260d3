package push

import (
	"encoding/json"
	"testing"
	"time"
)

func TestPayloadOfAMissedCall(t *testing.T) {
	tests := []struct {
		name               string
		n                  Notification
		kind, title, level string
		body               string
	}{
		{"a missed call", Notification{Kind: Alert, Missed: true, Name: "Anna"}, "missed", "Anna", "active", "Missed call"},
		{"with video", Notification{Kind: Alert, Missed: true, Handle: "201", Video: true}, "missed", "201", "active", "Missed video call"},
		{"of nobody", Notification{Kind: Alert, Missed: true}, "missed", "Unknown caller", "active", "Missed call"},
		{"a call", Notification{Kind: Alert, Name: "Anna"}, "call", "Anna", "time-sensitive", "Incoming call"},
		{"never by VoIP push: that must show a call", Notification{Kind: VoIP, Missed: true, Name: "Anna"}, "call", "", "", ""},
	}
	for _, tt := range tests {
		tt.n.UUID, tt.n.SentAt = "5f0f5b1c-0000-4000-8000-000000000001", time.UnixMilli(1)
		b, err := Payload(tt.n, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			APS struct {
				Alert struct{ Title, Body string }
				Level string `json:"interruption-level"`
			}
			Type, UUID string
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if got.Type != tt.kind || got.APS.Alert.Title != tt.title || got.APS.Alert.Body != tt.body || got.APS.Level != tt.level || got.UUID != tt.n.UUID {
			t.Errorf("%s: %s", tt.name, b)
		}
	}
}
