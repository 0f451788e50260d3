package apnssim

import (
	"time"

	"golang.org/x/net/http2"
)

// closeWhenIdle says GOAWAY IdleTimeout once the connection had no open stream
// for after, as Apple does. It returns then, or when ended is closed.
func (c *conn) closeWhenIdle(after time.Duration, ended <-chan struct{}) {
	for {
		left := c.idleLeft(after)
		if left <= 0 {
			c.goAway(goodbye{last: c.seen(), code: http2.ErrCodeNo, debug: reasonJSON("IdleTimeout")})
			return
		}
		timer := time.NewTimer(left)
		select {
		case <-timer.C:
		case <-ended:
			timer.Stop()
			return
		}
	}
}

// idleLeft returns how long the connection must stay idle to have been so for
// after.
func (c *conn) idleLeft(after time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 0 {
		return after
	}
	return after - time.Since(c.used)
}
