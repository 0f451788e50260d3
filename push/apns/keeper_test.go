package apns

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// notes is a log that is read while it is written.
type notes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

// TestExpiryIsWarnedOf: at 30, 14, 7 and 1 days and at the end, once each.
func TestExpiryIsWarnedOf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log notes
		k := &keeper{every: time.Hour, log: slog.New(slog.NewTextHandler(&log, nil))}
		cert := &identity{uses: []string{"com.example.phone.voip"}}
		use := func(good time.Duration) {
			c := Certificate{}
			c.pair.Leaf = &x509.Certificate{NotAfter: time.Now().Add(good)}
			cert.value.Store(&c)
		}
		use(40 * day)
		var shown []float64
		k.expires(cert, func(at float64) { shown = append(shown, at) })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.run(ctx) }()
		at := 0
		check := func(day, soon, over int) {
			t.Helper()
			time.Sleep(time.Duration(day-at)*24*time.Hour + time.Minute)
			synctest.Wait()
			at = day
			if s, o := strings.Count(log.String(), "expires soon"), strings.Count(log.String(), "has expired"); s != soon || o != over {
				t.Errorf("day %d: warned %d times, want %d; over %d times, want %d", day, s, soon, o, over)
			}
		}
		for _, step := range [][3]int{{0, 0, 0}, {9, 0, 0}, {11, 1, 0}, {25, 1, 0}, {27, 2, 0}, {32, 2, 0}, {34, 3, 0}, {38, 3, 0}, {39, 4, 0}, {41, 4, 1}, {60, 4, 1}} {
			check(step[0], step[1], step[2])
		}
		for _, days := range []string{"days=30", "days=14", "days=7", "days=1"} {
			if got := strings.Count(log.String(), days+"\n"); got != 1 {
				t.Errorf("%s: told %d times\n%s", days, got, log.String())
			}
		}
		use(365 * day) // a new one: all begins anew
		check(62, 4, 1)
		use(10 * day)
		check(63, 5, 1)
		stop()
		<-done
		if len(shown) < 3 || shown[len(shown)-1] != float64(cert.current().NotAfter().Unix()) {
			t.Errorf("shown %v", shown)
		}
	})
}
