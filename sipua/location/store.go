package location

import "context"

// State is all that a Store holds.
type State struct {
	Devices []Device
	Fates   []Fate
}

// Batch is a set of writes that belong together. A device or fate is named at
// most once in it.
type Batch struct {
	Put         []Device // written whole, replacing what was there
	Delete      []Ref    // deleting what is not there is no error
	PutFates    []Fate
	DeleteFates []FateRef
}

// Len is the number of writes.
func (b Batch) Len() int {
	return len(b.Put) + len(b.Delete) + len(b.PutFates) + len(b.DeleteFates)
}

// Store is the journal of Memory. It keeps every field of Device and Fate but
// Binding.Flow and Device.Wakeable, times to the millisecond in UTC. It must be
// safe for concurrent use, and its errors never hold a token.
// locationtest.Contract tests an implementation.
type Store interface {
	// Load returns everything that was committed, in any order.
	Load(ctx context.Context) (State, error)
	// Commit writes all of batch or nothing. When it returns nil, batch survives
	// the death of the process and of the machine. When it returns an error the
	// batch may be committed later nevertheless (ctx ended first); committing
	// it again is harmless.
	Commit(ctx context.Context, batch Batch) error
}
