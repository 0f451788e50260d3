package iphone

import "errors"

// Errors of a Device's verbs.
var (
	// ErrClosed says that the device is closed.
	ErrClosed = errors.New("device is closed")
	// ErrNoCall says that there is no such call on the screen, or not in the state
	// that the verb needs.
	ErrNoCall = errors.New("no such call on the screen")
	// ErrNotRunning says that the app's process does not run.
	ErrNotRunning = errors.New("app is not running")
	// ErrNoNotification says that there is no notification to tap on.
	ErrNoNotification = errors.New("no notification")
	// ErrPayload says that a push is none of a call.
	ErrPayload = errors.New("payload is not that of a call")
	// ErrPolicy says that no policy has that name.
	ErrPolicy = errors.New("no such policy")
)

// Errors that CallKit gives to the app.
var (
	// errUnentitled is CXErrorCodeIncomingCallError.unentitled.
	errUnentitled = errors.New("app is not entitled to incoming calls")
	// errAlreadyExists is CXErrorCodeIncomingCallError.callUUIDAlreadyExists.
	errAlreadyExists = errors.New("call UUID already exists")
	// errFilteredByDoNotDisturb and errFilteredByBlockList are
	// CXErrorCodeIncomingCallError's of those names: the call is known, and not
	// shown.
	errFilteredByDoNotDisturb = errors.New("filtered by do not disturb")
	errFilteredByBlockList    = errors.New("filtered by the block list")
	// errUnknownCall is CXErrorCodeRequestTransactionError.unknownCallUUID.
	errUnknownCall = errors.New("unknown call UUID")
	// errCallGroups is CXErrorCodeRequestTransactionError.maximumCallGroupsReached.
	errCallGroups = errors.New("maximum of call groups is reached")
)

// errLocked is what reading the credentials gives before the first unlock.
var errLocked = errors.New("credentials cannot be read before the first unlock")

// errOffline is what dialling gives in airplane mode.
var errOffline = errors.New("airplane mode")
