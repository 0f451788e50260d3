package location

import (
	"time"

	"wakebridge/sipua"
)

// Fate is what became of a call that a device was pushed for and never got the
// INVITE of. A device that registers is told once, and again over another flow.
type Fate struct {
	AOR       sipua.AOR
	DeviceKey string
	UUID      string    // of the (call, device): the payload's uuid, in lower case
	Cause     int       // 487 cancelled, 200 answered elsewhere, 603 declined elsewhere, 480 timed out
	Text      string    // for a person; no quotes, no control characters
	ExpiresAt time.Time // the push payload's expires_at
	Recorded  time.Time
	KeepUntil time.Time // when it is forgotten; zero while the call still lives
	Told      bool
}

// FateRef names a fate.
type FateRef struct {
	Device Ref
	UUID   string
}

// Ref names f.
func (f Fate) Ref() FateRef {
	return FateRef{Device: Ref{AOR: f.AOR, Key: f.DeviceKey}, UUID: f.UUID}
}
