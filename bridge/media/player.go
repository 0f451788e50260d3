package media

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"wakebridge/bridge/media/audio"
)

// Playing is a sound for a side's far end.
type Playing struct {
	Stream int // m= line, from 0
	// Codec is also the payload type.
	Codec audio.Codec
	// Source is read by the player's goroutine until it ends.
	Source audio.Source
}

// Play plays a sound to the side's far end, a packet each 20 ms, in place of what
// the partner sends there. It ends with the source, Hush, Close, or another Play; the
// partner's next packet has the marker bit then. Errors: ErrNoStream, ErrClosed.
func (s *Side) Play(p Playing) error {
	s.Hush()
	in, err := s.Insert(p.Stream, Insert{Hold: true})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		stop()
		in.End()
		return ErrClosed
	}
	s.hush = func() {
		stop()
		in.End()
	}
	s.guard.Go(func() { // Close waits
		defer stop()
		defer in.End()
		defer s.fault()
		if err := p.run(ctx, in); err != nil {
			s.relay.log.Error("sound ended", "error", err)
		}
	})
	return nil
}

// Hush ends what is played; when it returns, its last packet has left. Without any it
// does nothing.
func (s *Side) Hush() {
	s.mu.Lock()
	hush := s.hush
	s.hush = nil
	s.mu.Unlock()
	if hush != nil {
		hush()
	}
}

// fault is the recover barrier of a player: it costs its sound.
func (s *Side) fault() {
	if fault := recover(); fault != nil {
		s.relay.log.Error("sound ended by a fault", "fault", fault, "stack", string(debug.Stack()))
	}
}

// run sends frames until the source ends or ctx does.
func (p Playing) run(ctx context.Context, in *Insertion) error {
	tick := time.NewTicker(audio.FrameTime)
	defer tick.Stop()
	pace := audio.NewPacer(time.Now())
	f := Frame{PayloadType: uint8(p.Codec), Marker: true} // begins a talk spurt (RFC 3551 s4.1)
	for {
		due, skipped := pace.Due(time.Now())
		f.Timestamp += uint32(skipped) * audio.FrameSamples //nolint:gosec // timestamps wrap
		f.Marker = f.Marker || skipped > 0
		for range due {
			samples, err := audio.Take(p.Source, audio.FrameSamples)
			if err != nil {
				return fmt.Errorf("read sound: %w", err)
			}
			if len(samples) == 0 {
				return nil
			}
			f.Payload = p.Codec.Encode(f.Payload[:0], samples)
			if in.Send(f) {
				f.Marker = false
			}
			f.Timestamp += audio.FrameSamples
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
