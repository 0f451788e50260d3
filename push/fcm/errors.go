package fcm

import "errors"

var (
	// ErrAccountExposed says that a service account file may be read by others
	// than its owner.
	ErrAccountExposed = errors.New("service account file may be read by group or others: chmod 600")
	// ErrBadAccount says that a file is not the key of a service account as
	// Google gives it out.
	ErrBadAccount = errors.New("not a service account file")
	// ErrBadConfig says that a Service cannot be made of a Config.
	ErrBadConfig = errors.New("bad FCM configuration")

	// ErrOtherAccount says that pushes of a project are not sent by that account.
	ErrOtherAccount = errors.New("another service account than the one in use")

	errClosed = errors.New("sender closed")
)
