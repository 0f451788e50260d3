package fcm

import (
	"context"
	"sync/atomic"
	"time"

	"wakebridge/push"
)

// patient makes the context of a request that is heard out for push.HearOut if ctx
// ends when all of it is written; then stopped is called. Nobody may want to know:
// then it is ctx. stopped has returned when release returns.
func patient(ctx context.Context, written *atomic.Bool, stopped func()) (request context.Context, release func()) {
	h := push.HearingOf(ctx)
	if h == nil {
		return ctx, func() {}
	}
	request, cancel := h.Request(ctx)
	over := make(chan struct{})
	var late *time.Timer
	forget := context.AfterFunc(ctx, func() {
		defer close(over)
		if !written.Load() {
			cancel()
			return
		}
		stopped()
		late = time.AfterFunc(push.HearOut, cancel)
	})
	return request, func() {
		if !forget() {
			<-over
		}
		if late != nil {
			late.Stop()
		}
		cancel()
	}
}
