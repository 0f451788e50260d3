package config

import "errors"

// ErrInvalid is what every *Report unwraps to: the configuration was read and
// refused.
var ErrInvalid = errors.New("invalid configuration")
