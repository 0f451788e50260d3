package iphone

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua/header"
)

// PushService is the device's end of the push service. apnssim.Device is one but
// for Next, which takes a Delivery from its channel.
type PushService interface {
	// RegisterVoIP and RegisterAlert give the app's tokens, the same until the app
	// is installed anew.
	RegisterVoIP(bundle string) string
	RegisterAlert(bundle string) string
	// Online says whether the device can be reached.
	Online(online bool)
	// Next waits for a push. An error ends the device's listening.
	Next(ctx context.Context) (Push, error)
}

// Push is a push notification as the device gets it.
type Push struct {
	ID      string // apns-id
	Token   string
	Type    string // apns-push-type: voip, alert or background
	Payload []byte
}

// The push types that the device knows.
const (
	pushVoIP  = "voip"
	pushAlert = "alert"
)

// callPush is what the app reads of a payload.
type callPush struct {
	uuid    uuid.UUID
	callID  string
	name    string
	handle  string
	expires time.Time // zero: not said
}

// readPush reads a payload as Wakebridge writes it. Errors wrap ErrPayload.
func readPush(payload []byte) (callPush, error) {
	var p struct {
		Type      string `json:"type"`
		UUID      string `json:"uuid"`
		CallID    string `json:"call_id"`
		Name      string `json:"name"`
		Handle    string `json:"handle"`
		ExpiresAt int64  `json:"expires_at"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		return callPush{}, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if p.Type != "call" {
		return callPush{}, fmt.Errorf("type %q: %w", p.Type, ErrPayload)
	}
	id, err := header.ParseCallUUID(p.UUID)
	if err != nil {
		return callPush{}, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	c := callPush{uuid: id, callID: p.CallID, name: p.Name, handle: p.Handle}
	if p.ExpiresAt > 0 {
		c.expires = time.UnixMilli(p.ExpiresAt)
	}
	return c, nil
}

// readTitle is what a notification shows.
func readTitle(payload []byte) string {
	var p struct {
		APS struct {
			Alert struct {
				Title string `json:"title"`
			} `json:"alert"`
		} `json:"aps"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return ""
	}
	return p.APS.Alert.Title
}
