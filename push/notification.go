package push

import "time"

// Notification is what one push says. Delivery fills in Kind, ID, SentAt and
// CollapseID where they are zero.
type Notification struct {
	Kind Kind
	// Test makes an alert say that it is a test and nobody calls, whatever the
	// app's layout. It changes no other kind.
	Test bool
	// ID names this push to the service (apns-id): a UUID in lower case. All
	// tries of one push carry it.
	ID string
	// UUID is the call's identity on this device: CallKit's key and SIP's.
	UUID string
	// CallID is the Call-ID of the INVITE that the device will get.
	CallID string
	// Handle is the caller's number or address, HandleType "phone" or
	// "generic". Handle, Name and From stay empty for a caller who asked for
	// privacy (RFC 3323 "id").
	Handle     string
	HandleType string
	Name       string // the caller's display name, as it came
	Video      bool
	To         string // the called user's URI
	From       string // the caller's URI
	// SentAt and ExpiresAt are told to the app, in ms: later than ExpiresAt
	// it must not ring. Delivery gives up at ExpiresAt too, unless it is zero.
	SentAt    time.Time
	ExpiresAt time.Time
	// Expiration is until when the service may keep the push for a phone that
	// it cannot reach. Zero means now or never: it is not kept at all. Second
	// precision on Apple's wire.
	Expiration time.Time
	// CollapseID lets a later push replace this one on the phone's screen, at
	// most 64 bytes. Never set for VoIP.
	CollapseID string
	// Missed makes an alert say that the call is over and was missed.
	Missed bool
}
