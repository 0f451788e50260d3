package registrar

import (
	"context"
	"errors"

	"wakebridge/sipua/location"
)

// ErrClosed says that the registrar takes no more work.
var ErrClosed = errors.New("the registrar has closed")

// Do is Edit for somebody who answers for what it did: it returns when the edits
// are durable and the watchers know of them. When the journal could not be
// written, memory has the edits all the same and the next commit tries again.
// Errors: ErrClosed, the store's, ctx's; after that of ctx the edits may yet be
// made.
func (r *Registrar) Do(ctx context.Context, edits ...location.Edit) error {
	done := make(chan error, 1)
	if !r.work.put(job{edits: edits, done: done}) {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
