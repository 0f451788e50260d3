// Package leg is one INVITE dialog (RFC 3261 s12 to s15), as the caller's side of
// a bridge sees it (UAS) or the callee's (UAC). SDP is opaque bytes here.
//
// A Leg belongs to one goroutine, its owner: the call. The owner calls the verbs
// (Ring, Answer, Cancel, Bye, ...), which check whether they fit, queue a message
// and return at once, and it gets Events by Config.Emit. What comes from the
// network or a timer reaches the leg as a closure by Config.Post, so nothing of a
// leg's state needs a lock.
//
// A leg says goodbye in the right way by itself: it holds a CANCEL until there was
// a provisional response, acknowledges and ends a dialog that crossed it, waits for
// the ACK before a BYE. From the moment of its last event, Ended, it needs its
// owner no more and does the rest alone.
package leg
