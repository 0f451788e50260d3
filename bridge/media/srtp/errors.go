package srtp

import "errors"

var (
	// ErrSuite says that a crypto suite is none of ours, or that key and salt are not
	// as long as it wants.
	ErrSuite = errors.New("unusable crypto suite or key")
	// ErrAuth says that a packet was not made with the key, or came before.
	ErrAuth = errors.New("packet is not authentic or was repeated")
	// ErrReplayed says that a packet that we should send was sent before, or is too
	// old to tell.
	ErrReplayed = errors.New("packet was sent before")
	// ErrSenders says that a packet is of one sender more than may share a key.
	ErrSenders = errors.New("too many senders under one key")
	// ErrSpent says that the key has protected all it may (RFC 3711 s9.2).
	ErrSpent = errors.New("key is used up")
)
