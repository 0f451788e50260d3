package leg

import "errors"

// Errors of verbs. Others wrap those of package sipua, for instance
// sipua.ErrUnsafeHeader.
var (
	// ErrState says that the verb does not fit what the leg is doing: nothing was
	// sent.
	ErrState = errors.New("verb does not fit the leg's state")
	// ErrEnded says that the leg has ended, or was told to.
	ErrEnded = errors.New("leg has ended")
	// ErrStatus says that a status does not belong to the verb's class.
	ErrStatus = errors.New("status does not fit the verb")
	// ErrPending says that another offer is still without its answer (RFC 3261
	// s14.1).
	ErrPending = errors.New("another offer is pending")
)
