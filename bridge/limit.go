package bridge

import (
	"fmt"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// wakeLimits bound how often a user may be woken: each push that leads to no
// call costs the user's phone some of Apple's patience.
type wakeLimits struct {
	perUser   Rate
	perCaller Rate

	mu      sync.Mutex
	buckets *lru.Cache[string, *rate.Limiter]
}

// remembered is how many callers and callees have a bucket at a time.
const remembered = 16384

func newWakeLimits(perUser, perCaller Rate) *wakeLimits {
	cache, err := lru.New[string, *rate.Limiter](remembered)
	if err != nil { // only for a size below 1
		cache = nil
	}
	return &wakeLimits{perUser: perUser, perCaller: perCaller, buckets: cache}
}

// allow counts a woken call for callee by caller; the result is why it may not
// be woken, "" if it may.
func (w *wakeLimits) allow(callee, caller string, now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	// Both are asked before either is used: a call that does not wake costs nobody
	// anything.
	var both []*rate.Limiter
	if caller != "" {
		l := w.bucket("pair "+callee+" "+caller, w.perCaller)
		if l != nil && l.TokensAt(now) < 1 {
			return tooOften(w.perCaller, "by this caller (limits.wakes_per_caller)")
		}
		both = append(both, l)
	}
	l := w.bucket("callee "+callee, w.perUser)
	if l != nil && l.TokensAt(now) < 1 {
		return tooOften(w.perUser, "for this user (limits.wakes_per_user)")
	}
	for _, l := range append(both, l) {
		if l != nil {
			l.AllowN(now, 1)
		}
	}
	return ""
}

func tooOften(r Rate, whose string) string {
	return fmt.Sprintf("woken too often: more than %d calls per %s %s", r.Count, r.Per, whose)
}

// bucket is the one of key; nil where there is no limit.
func (w *wakeLimits) bucket(key string, r Rate) *rate.Limiter {
	if r.Count <= 0 || r.Per <= 0 || w.buckets == nil {
		return nil
	}
	l, ok := w.buckets.Get(key)
	if !ok {
		l = rate.NewLimiter(rate.Every(r.Per/time.Duration(r.Count)), r.Count)
		w.buckets.Add(key, l)
	}
	return l
}
