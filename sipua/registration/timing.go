package registration

import "time"

const (
	// leastRefresh keeps a registrar that grants a second or two from being
	// flooded.
	leastRefresh = time.Second
	// longestWish bounds a Retry-After: a registrar that asks for a day may mean
	// it, but it may also be misconfigured.
	longestWish = time.Hour
	// reserve is what is left of a binding when it is refreshed: time for one
	// lost REGISTER and its repetition.
	reserve = 8 * time.Second
)

// refreshAfter is when to refresh a binding of expires: with a tenth of it, or the
// reserve, or the half of a short one to go, and up to a tenth earlier by dice (0
// to 1), so that many do not come at once. early is how long before expiry the
// registrar wants to see a REGISTER at the latest (+sip.pnsreg, RFC 8599 s8.4), 0
// if it does not say.
func refreshAfter(expires, early time.Duration, dice float64) time.Duration {
	margin := max(expires/10, min(expires/2, reserve))
	if early < expires {
		margin = max(margin, early)
	}
	latest := expires - margin
	return max(leastRefresh, latest-time.Duration(dice*float64(latest)/10))
}

// backOff is how long to wait after the failures-th failure in a row, between the
// half and the whole of first*2^(failures-1), at most longest (RFC 5626 s4.5);
// wish is the registrar's Retry-After.
func backOff(r Retry, failures int, wish time.Duration, dice float64) time.Duration {
	wait := r.First
	for i := 1; i < failures && wait < r.Longest; i++ {
		wait *= 2
	}
	wait = min(wait, r.Longest)
	wait = wait/2 + time.Duration(dice*float64(wait)/2)
	return max(wait, min(wish, longestWish))
}
