package apnssim

import "errors"

var (
	// ErrClosed: the simulator is closed.
	ErrClosed = errors.New("apnssim: closed")
	// ErrNoListener: Config names no listener at all.
	ErrNoListener = errors.New("apnssim: no listener")
	// ErrBadIdentifier: a team or key identifier is not ten characters A-Z, 0-9,
	// or a bundle identifier is empty or has a character that none can have.
	ErrBadIdentifier = errors.New("apnssim: bad identifier")
	// ErrBadKey: not an ECDSA key on P-256.
	ErrBadKey = errors.New("apnssim: not a P-256 key")
	// ErrKeyTaken: the key identifier belongs to another team.
	ErrKeyTaken = errors.New("apnssim: key identifier is taken")
	// ErrAppTaken: the bundle identifier belongs to another team.
	ErrAppTaken = errors.New("apnssim: bundle identifier is taken")
	// ErrUnknownTeam: no such team.
	ErrUnknownTeam = errors.New("apnssim: unknown team")
	// ErrUnknownToken: no such device token.
	ErrUnknownToken = errors.New("apnssim: unknown device token")
	// ErrUnknownFault: no such fault rule.
	ErrUnknownFault = errors.New("apnssim: unknown fault rule")
	// ErrBadRule: a fault rule that cannot be carried out.
	ErrBadRule = errors.New("apnssim: bad fault rule")
	// ErrBadNetwork: a probability outside 0 to 1, or a negative time.
	ErrBadNetwork = errors.New("apnssim: bad network")
	// ErrUnknownDevice: no such device.
	ErrUnknownDevice = errors.New("apnssim: unknown device")
	// ErrRemote: the simulator in another process answered a Client with a
	// problem.
	ErrRemote = errors.New("apnssim: refused by the simulator")

	errNotH2   = errors.New("apnssim: client did not negotiate h2")
	errPreface = errors.New("apnssim: bad HTTP/2 preface")
	errRefused = errors.New("apnssim: TLS refused by a fault rule")
)
