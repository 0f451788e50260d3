package media

import "errors"

var (
	// ErrNoPorts says that no port pair is free and rested: the call gets 503.
	ErrNoPorts = errors.New("no free media ports")
	// ErrNoFamily says that no address of the family is bound (media.bind).
	ErrNoFamily = errors.New("no media address of this family")
	// ErrClosed says that the relay or the side is closed.
	ErrClosed = errors.New("media relay is closed")
	// ErrNoStream says that a side has no such m= line.
	ErrNoStream = errors.New("media stream does not exist")
	// ErrNowhere says that the far end has no address now: its line is refused, or it
	// holds by an unspecified address.
	ErrNowhere = errors.New("the far end has no address")
	// ErrKeys says that as many keys wait to be sent as may.
	ErrKeys = errors.New("too many keys wait")
	// ErrConfig says that a Config cannot work; the text names the field.
	ErrConfig = errors.New("media configuration")
)
