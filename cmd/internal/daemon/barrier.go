package daemon

import (
	"fmt"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// newPanics counts what contain does; reg may be nil.
func newPanics(reg prometheus.Registerer) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "wakebridge_push_panics_total",
		Help: "Work around a push outside calls, such as refreshes and missed calls, that panicked and was contained."})
	if reg != nil {
		reg.MustRegister(c)
	}
	return c
}

// contain runs fn behind a barrier: a panic ends this piece of work, not the server
// with all its calls.
func (w *waker) contain(what string, fn func()) {
	defer func() {
		if p := recover(); p != nil {
			w.panics.Inc()
			w.log.Error("panic", "while", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	fn()
}
