package media

import (
	"fmt"

	"wakebridge/bridge/media/relay"
)

// Insert says how packets of ours are inserted into a stream.
type Insert = relay.Insert

// Insertion is a time in which packets of ours go to a stream's far end.
type Insertion = relay.Insertion

// Frame is one RTP packet of ours.
type Frame = relay.Frame

// Insert begins an insertion of packets of ours into stream i towards the side's
// own far end, through its sockets and keys, from any goroutine. Who began it ends
// it; after Close it sends nothing. When each packet goes is the caller's to decide;
// Play does that for sound. Errors: ErrNoStream.
func (s *Side) Insert(i int, o Insert) (*Insertion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < 0 || i >= len(s.lines) {
		return nil, fmt.Errorf("stream %d of %d: %w", i, len(s.lines), ErrNoStream)
	}
	return s.lines[i].stream.Insert(o), nil
}
