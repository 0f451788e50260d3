package audio

import "time"

// maxBurst is how many frames late a sender catches up at once; what is later than
// that is skipped, as a sound card would.
const maxBurst = 5

// Pacer counts frames of FrameTime by the clock, so that a late tick is made good
// and nothing drifts. It belongs to one goroutine.
type Pacer struct {
	start time.Time
	done  int
}

// NewPacer makes a Pacer whose first frame is due at start.
func NewPacer(start time.Time) *Pacer { return &Pacer{start: start} }

// Due is how many frames to send now, after skipping those too late.
func (p *Pacer) Due(now time.Time) (due, skipped int) {
	due = int(now.Sub(p.start)/FrameTime) + 1 - p.done
	if due > maxBurst {
		skipped = due - maxBurst
		due = maxBurst
	}
	p.done += due + skipped
	return due, skipped
}
