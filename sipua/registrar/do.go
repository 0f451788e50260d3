package registrar

import (
	"context"
	"errors"

	"wakebridge/sipua/location"
)

// ErrClosed says that the registrar takes no more work.
var ErrClosed = errors.New("the registrar has closed")

// done is what became of the edits of a Do.
type done struct {
	notes []location.Note
	err   error // the commit's
}

// waiting is a Do that waits for its commit.
type waiting struct {
	tell     chan<- done // has room
	from, to int         // its edits among those of the step
	notes    []location.Note
}

// Do is Edit for somebody who answers for what it did: it returns when the edits
// are durable and the watchers know of them. The notes are of these edits alone. When
// the journal could not be written, memory has the edits all the same and the next
// commit tries again. Errors: ErrClosed, the store's, ctx's; after that of ctx the
// edits may yet be made.
func (r *Registrar) Do(ctx context.Context, edits ...location.Edit) ([]location.Note, error) {
	tell := make(chan done, 1)
	if !r.work.put(job{edits: edits, tell: tell}) {
		return nil, ErrClosed
	}
	select {
	case d := <-tell:
		return d.notes, d.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
