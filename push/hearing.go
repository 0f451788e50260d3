package push

import (
	"context"
	"sync/atomic"
	"time"
)

// HearOut is how long the service's answer to a push is waited for that was on its
// way when it was stopped: a token that is dead is dead for the next call too.
const HearOut = 5 * time.Second

// Hearing is how a push is heard out that ends before its answer is here. Nothing
// more is sent for it.
type Hearing struct {
	life     context.Context // ends the hearing at once
	report   func(Result)
	complete func(Result) Result
	told     atomic.Bool
}

type hearingKey struct{}

// HearingOf is how a push that is sent with ctx is heard out when ctx ends; nil if
// nobody wants to know: its request ends with ctx.
func HearingOf(ctx context.Context) *Hearing {
	h, _ := ctx.Value(hearingKey{}).(*Hearing)
	return h
}

// Request is a context for one request: it does not end with ctx but with cancel,
// which its maker calls HearOut after ctx has ended, or with the program.
func (h *Hearing) Request(ctx context.Context) (request context.Context, cancel context.CancelFunc) {
	request, stop := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(h.life, stop)
	return request, func() {
		forget()
		stop()
	}
}

// Stopped reports what is known of the push now that it is stopped: r's reason is
// Stopped or Deadline. A sender calls it, at most once, if it goes on listening.
func (h *Hearing) Stopped(r Result) {
	if !h.told.Swap(true) {
		h.report(h.complete(r))
	}
}
