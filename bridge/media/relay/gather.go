package relay

import "time"

// How long a worker lets packets gather. Waking a sleeping thread costs more than
// relaying a packet, so a worker that is busy sleeps for a moment and then takes
// all that came. A packet waits gatherMax at most for that.
const (
	gatherMax = 1900 * time.Microsecond
	gatherMin = time.Millisecond // less costs more and is heard by nobody
	// gatherWant is how many packets are worth one waking.
	gatherWant = 16
	// gatherIdle is the rate in packets per second below which each packet may as
	// well wake the worker itself: there is nothing to gather in gatherMax.
	gatherIdle = 1500
	// gatherMemory is the time over which the rate is averaged.
	gatherMemory = 50 * time.Millisecond
)

// gather decides how long a worker sleeps before it looks again. It is a value;
// the rate that it knows is that of the past gatherMemory or so.
type gather struct {
	rate float64 // packets per second
	last time.Time
}

// took notes a batch of packets and returns the time from its beginning to that of the
// next one; 0: wait for the next packet.
func (g *gather) took(packets int, now time.Time) time.Duration {
	passed := now.Sub(g.last)
	g.last = now
	switch {
	case passed <= 0:
		return 0
	case passed >= gatherMemory:
		g.rate = float64(packets) / passed.Seconds()
	default:
		// What came at the same pace for all of gatherMemory weighs 1.
		weight := passed.Seconds() / gatherMemory.Seconds()
		g.rate += (float64(packets)/passed.Seconds() - g.rate) * weight
	}
	if g.rate < gatherIdle {
		return 0
	}
	pause := time.Duration(gatherWant / g.rate * float64(time.Second))
	return min(max(pause, gatherMin), gatherMax)
}
