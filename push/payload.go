package push

import (
	"encoding/json"
	"fmt"
	"time"
)

const (
	// maxVoIPPayload and maxPayload are Apple's limits in bytes.
	maxVoIPPayload = 5 << 10
	maxPayload     = 4 << 10
	// maxName is what a name may take, in bytes: far more than a call screen
	// shows. tightName is what is left of it when the payload is too large.
	maxName   = 256
	tightName = 64
)

// Template lays a notification out as the JSON value that an app reads. It
// gets cleaned text. See TemplateNamed.
type Template func(Notification) any

// Payload writes n by layout t (nil: Wakebridge) as JSON within the limit of
// its kind: 5 KiB for VoIP, 4 KiB for the rest. Names, handles and URIs are
// cleaned; where all of it does not fit, the name is cut, then From, To and
// Handle go, in this order: half a URI would lie. UUID and Call-ID stay as
// they are. Errors: ErrUnknownKind, ErrPayloadTooLarge.
func Payload(n Notification, t Template) ([]byte, error) {
	if t == nil {
		t = Wakebridge
	}
	if n.Test && n.Kind == Alert {
		t = testAlert
	}
	limit := maxPayload
	switch n.Kind {
	case VoIP:
		limit = maxVoIPPayload
	case Alert, Background:
	default:
		return nil, fmt.Errorf("payload of %q: %w", n.Kind, ErrUnknownKind)
	}
	return fitted(n, limit, func(n Notification) ([]byte, error) { return encode(t(n)) })
}

// fitted writes n by write, cleaned and with as much taken off it as limit asks
// for.
func fitted(n Notification, limit int, write func(Notification) ([]byte, error)) ([]byte, error) {
	n.Name = cut(clean(n.Name), maxName)
	n.Handle, n.HandleType = clean(n.Handle), clean(n.HandleType)
	n.To, n.From = clean(n.To), clean(n.From)
	n.UUID, n.CallID = clean(n.UUID), clean(n.CallID)

	smaller := []func(){
		func() { n.Name = cut(n.Name, tightName) },
		func() { n.From = "" },
		func() { n.To = "" },
		func() { n.Handle = "" },
		func() { n.HandleType = "" },
	}
	for _, shrink := range smaller {
		b, err := write(n)
		if err != nil || len(b) <= limit {
			return b, err
		}
		shrink()
	}
	b, err := write(n)
	if err == nil && len(b) > limit {
		return nil, fmt.Errorf("%d bytes of at most %d: %w", len(b), limit, ErrPayloadTooLarge)
	}
	return b, err
}

// MinimalPayload is Payload with nothing but what identifies the call and says
// when: for a service that finds the whole one too large. Errors: as Payload.
func MinimalPayload(n Notification, t Template) ([]byte, error) {
	n.Name, n.Handle, n.HandleType, n.To, n.From = "", "", "", "", ""
	return Payload(n, t)
}

// encode escapes for HTML as well, as apns2 will when it marshals these bytes
// again: the limit holds for what goes on the wire.
func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return b, nil
}

// message is the payload that Wakebridge's own app reads: DESIGN s6.
type message struct {
	APS        aps    `json:"aps"`
	V          int    `json:"v"`
	Type       string `json:"type"`
	UUID       string `json:"uuid"`
	CallID     string `json:"call_id"`
	Handle     string `json:"handle"`
	HandleType string `json:"handle_type"`
	Name       string `json:"name"`
	Video      bool   `json:"video"`
	To         string `json:"to"`
	From       string `json:"from"`
	SentAt     int64  `json:"sent_at"`    // UNIX ms
	ExpiresAt  int64  `json:"expires_at"` // UNIX ms
}

// typeCall is the type of a message that says: a call is there.
const typeCall = "call"

// aps is the dictionary that iOS itself reads: empty for a VoIP push.
type aps struct {
	Alert             *alert `json:"alert,omitempty"`
	Sound             string `json:"sound,omitempty"`
	InterruptionLevel string `json:"interruption-level,omitempty"`
	ContentAvailable  int    `json:"content-available,omitempty"`
}

type alert struct {
	Title string `json:"title"`
	Body  string `json:"body"`
}

// Wakebridge is our own layout, the default Template.
func Wakebridge(n Notification) any { return ours(n) }

// ours is what every layout has; those for other apps add to it.
func ours(n Notification) message {
	m := message{
		V: 1, Type: typeCall, UUID: n.UUID, CallID: n.CallID,
		Handle: n.Handle, HandleType: n.HandleType, Name: n.Name, Video: n.Video,
		To: n.To, From: n.From, SentAt: millis(n.SentAt), ExpiresAt: millis(n.ExpiresAt),
	}
	switch n.Kind {
	case Alert:
		m.APS = ringing(n)
	case Background:
		m.APS.ContentAvailable = 1
		m.Type = typeRefresh
	}
	if n.Missed && n.Kind == Alert {
		m.Type, m.APS = typeMissed, missedCall(n)
	}
	return m
}

// ringing is the notification of a call as a person sees it.
func ringing(n Notification) aps {
	body := "Incoming call"
	if n.Video {
		body = "Incoming video call"
	}
	return aps{
		Alert:             &alert{Title: caller(n), Body: body},
		Sound:             "default",
		InterruptionLevel: "time-sensitive",
	}
}

// caller is whom a person sees calling.
func caller(n Notification) string {
	switch {
	case n.Name != "":
		return n.Name
	case n.Handle != "":
		return n.Handle
	}
	return "Unknown caller"
}

// millis is t in UNIX milliseconds, 0 for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
