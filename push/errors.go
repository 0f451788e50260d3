package push

import "errors"

var (
	// ErrPayloadTooLarge says that a notification does not fit the service's
	// limit even without its optional fields: an over-long UUID or Call-ID.
	ErrPayloadTooLarge = errors.New("payload too large")
	// ErrUnknownKind says that a notification is neither voip, alert nor
	// background.
	ErrUnknownKind = errors.New("unknown kind of push")
	// ErrDuplicateApp says that two routes name the same bundle id and team.
	ErrDuplicateApp = errors.New("app configured twice")
	// ErrNoSender says that a route has no bundle id or no sender.
	ErrNoSender = errors.New("route without bundle id or sender")
)
