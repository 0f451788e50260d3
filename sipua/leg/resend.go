package leg

// Resend sends our INVITE once more at once, if it is still without a 1xx and went
// over UDP: the callee has just shown life, and may have missed it. Errors: ErrEnded,
// ErrState after the final response, and those of sending.
func (l *Leg) Resend() error {
	switch {
	case l.parted:
		return ErrEnded
	case l.phase != calling || l.calls.tx == nil:
		return ErrState
	case l.calls.heard: // a challenge that was answered counts as a new INVITE
		return nil
	}
	return l.calls.tx.Resend()
}
