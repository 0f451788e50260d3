package registrar

import (
	"fmt"
	"runtime/debug"

	"wakebridge/sipua"
)

// contain runs fn behind a barrier: a panic, which would end the server and all its
// calls, becomes an error of status 500.
func (r *Registrar) contain(what string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.metrics.panics.Inc()
			r.log.Error("panic", "while", what, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = sipua.Reject(500, "")
		}
	}()
	return fn()
}
