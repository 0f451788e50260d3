package route

import "errors"

// ErrBadTable is wrapped by every fault that New reports, one per rule or user.
var ErrBadTable = errors.New("bad routing table")
