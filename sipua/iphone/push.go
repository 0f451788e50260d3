package iphone

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua/header"
)

// PushSource is the device's end of the push service. apnssim.Device is one but
// for Next, which takes a Delivery from its channel.
type PushSource interface {
	// RegisterVoIP and RegisterAlert give the app's tokens, the same until the app
	// is installed anew; "" if there is none to be had now.
	RegisterVoIP(bundle string) string
	RegisterAlert(bundle string) string
	// Reinstall removes the app and installs it again: its tokens become invalid.
	Reinstall(bundle string)
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

// payload holds what apps read of pushes for calls: Wakebridge's own keys, and
// those that Flexisip (aps.call-id, from-uri, display-name), flutter_callkit_incoming
// (id, nameCaller) and callkeep (uuid, callerName) use. Flexisip's aps.uuid is the
// device's +sip.instance, the same for all calls.
type payload struct {
	Type      *text `json:"type"`
	UUID      text  `json:"uuid"`
	CallID    text  `json:"call_id"`
	Name      text  `json:"name"`
	Handle    text  `json:"handle"`
	ExpiresAt int64 `json:"expires_at"` // ms since 1970

	APS struct {
		CallID text `json:"call-id"`
	} `json:"aps"`
	FromURI text `json:"from-uri"`
	Display text `json:"display-name"`

	ID         text `json:"id"`
	NameCaller text `json:"nameCaller"`
	CallerName text `json:"callerName"`
}

// text is a JSON string; other values are none, for the keys are anybody's.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) != nil {
		s = ""
	}
	*t = text(s)
	return nil
}

// first is the first that is not empty.
func first(all ...text) string {
	for _, t := range all {
		if t != "" {
			return string(t)
		}
	}
	return ""
}

// readPush reads the payload of a call. Errors wrap ErrPayload.
func readPush(b []byte) (callPush, error) { return readTyped(b, "call") }

// readAlert reads the payload of a notification: of a call, of one that was missed,
// or of an operator's test. Errors wrap ErrPayload.
func readAlert(b []byte) (callPush, error) { return readTyped(b, "call", "missed", "test") }

func readTyped(b []byte, types ...text) (callPush, error) {
	var p payload
	if err := json.Unmarshal(b, &p); err != nil {
		return callPush{}, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	if p.Type != nil && !slices.Contains(types, *p.Type) {
		return callPush{}, fmt.Errorf("type %q: %w", *p.Type, ErrPayload)
	}
	c := callPush{callID: first(p.CallID, p.APS.CallID), name: first(p.Name, p.Display, p.NameCaller, p.CallerName), handle: first(p.Handle, p.FromURI)}
	id := first(p.UUID, p.ID)
	switch {
	case id != "":
		var err error
		if c.uuid, err = header.ParseCallUUID(id); err != nil {
			return callPush{}, fmt.Errorf("%w: %w", ErrPayload, err)
		}
	case c.callID != "": // CallKit wants a UUID: the same for the same call
		c.uuid = uuidOfCallID(c.callID)
	default:
		return callPush{}, fmt.Errorf("neither a UUID nor a Call-ID: %w", ErrPayload)
	}
	if p.ExpiresAt > 0 {
		c.expires = time.UnixMilli(p.ExpiresAt)
	}
	return c, nil
}

// uuidOfCallID is the UUID of a call that has none of its own: push and INVITE name the
// same, whichever is first.
func uuidOfCallID(callID string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(callID)) }

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
