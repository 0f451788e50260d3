package iphone

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// actionKind tells the actions apart.
type actionKind string

const (
	startCall    actionKind = "CXStartCallAction"
	answerCall   actionKind = "CXAnswerCallAction"
	endCall      actionKind = "CXEndCallAction"
	setHeldCall  actionKind = "CXSetHeldCallAction"
	setMutedCall actionKind = "CXSetMutedCallAction"
	playDTMFCall actionKind = "CXPlayDTMFCallAction"
)

// actionState is what became of an action.
type actionState uint8

const (
	pending actionState = iota
	done
	timedOut
)

// wish is what is wanted of a call.
type wish struct {
	kind   actionKind
	uuid   uuid.UUID
	reason Reason // of an endCall: why the call ends by it
	on     bool   // of setHeldCall and setMutedCall
	yields bool   // of a setHeldCall: for the time of a cellular call
	text   string // the digits of a playDTMFCall, the number of a startCall
}

// action is a CXAction: something the user wants of a call. The app does it and
// fulfils it, or fails it.
type action struct {
	wish
	screen *callScreen
	state  actionState
	limit  *time.Timer // nil: none
}

// fulfil says that it is done.
func (a *action) fulfil() {
	if a.finish("fulfilled") {
		a.screen.fulfilled(a)
	}
}

// fail says that it cannot be done.
func (a *action) fail() {
	if a.finish("failed") {
		a.screen.device.tell(Event{Kind: ActionFailed, UUID: a.uuid, Text: string(a.kind)})
		a.screen.failed(a)
	}
}

func (a *action) finish(how string) bool {
	if a.limit != nil {
		a.limit.Stop()
	}
	if a.state != pending {
		a.screen.device.violate(RuleAction, a.uuid, string(a.kind)+" "+how+" after its end")
		return false
	}
	a.state = done
	return true
}

// expire is the end of the time in which it can be done.
func (a *action) expire() {
	if a.state != pending {
		return
	}
	a.state = timedOut
	d := a.screen.device
	d.tell(Event{Kind: ActionTimedOut, UUID: a.uuid, Text: string(a.kind)})
	d.violate(RuleAction, a.uuid, string(a.kind)+" was neither fulfilled nor failed in time")
	a.screen.failed(a)
	if p := d.ios.process; p != nil {
		p.app.timedOutPerforming(a)
	}
}

// cancel ends an action whose app is gone.
func (a *action) cancel() {
	if a.limit != nil {
		a.limit.Stop()
	}
	if a.state == pending {
		a.state = done
	}
}

// callController is CXCallController: how the app tells CallKit what the user did
// inside the app.
type callController struct{ process *process }

// transaction is a CXTransaction, of one action.
type transaction wish

// request asks CallKit to let the app do it: the action comes by the delegate.
// Errors: errUnknownCall; errAlreadyExists and errCallGroups for a startCall.
func (c callController) request(t transaction) error {
	s := c.process.device.ios.screen
	known := s.live(t.uuid) != nil
	switch {
	case t.kind == startCall && known:
		return fmt.Errorf("%s: %w", t.kind, errAlreadyExists)
	case t.kind == startCall && s.full():
		return fmt.Errorf("%s: %w", t.kind, errCallGroups)
	case t.kind != startCall && !known:
		return fmt.Errorf("%s: %w", t.kind, errUnknownCall)
	}
	c.process.post(func() {
		if err := s.perform(wish(t)); err != nil {
			c.process.device.log.Debug("transaction", "error", err)
		}
	})
	return nil
}
