package iphone

import (
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua/softphone"
)

// article takes the founding article at its word: the id is looked up in the
// dictionary, the call is accepted, and the action is fulfilled.
func article(a *app) delegate {
	a.departs.accepted = a.confirmed
	return a
}

type neverReporting struct{ *app }

func neverReports(a *app) delegate { return neverReporting{a} }

// didReceiveIncomingPush implements delegate.
func (a neverReporting) didReceiveIncomingPush(Push, *pushMetadata) { a.connect() }

type lateReporting struct {
	*app
	late []Push
}

func reportsLate(a *app) delegate {
	l := &lateReporting{app: a}
	a.departs.registered = l.report
	return l
}

// didReceiveIncomingPush implements delegate: "network first" is what most apps that
// are killed did.
func (a *lateReporting) didReceiveIncomingPush(p Push, _ *pushMetadata) {
	a.late = append(a.late, p)
	a.connect()
}

func (a *lateReporting) report() {
	late := a.late
	a.late = nil
	for _, p := range late {
		if push, err := readPush(p.Payload); err == nil {
			a.incoming(incomingCall{callPush: push, pushed: true})
		}
	}
}

type neverRegistering struct{ *app }

func neverRegisters(a *app) delegate { return neverRegistering{a} }

// didReceiveIncomingPush implements delegate.
func (a neverRegistering) didReceiveIncomingPush(p Push, _ *pushMetadata) {
	push, err := readPush(p.Payload)
	if err != nil {
		a.reportGarbage()
		return
	}
	a.incoming(incomingCall{callPush: push, pushed: true})
}

func rejects(a *app) delegate {
	a.departs.attached = func(c *call) bool {
		a.refuse(c.leg, c.uuid, 486)
		a.finish(c, Failed)
		return true
	}
	return a
}

// doubled is an app with a second user agent, which registers whenever the first
// does.
type doubled struct {
	*app
	second *softphone.Phone // nil: it does not run
	other  *softphone.Registration
}

func registersTwice(a *app) delegate {
	t := &doubled{app: a}
	a.departs.connecting = t.register
	return t
}

func (a *doubled) register() {
	if a.second == nil {
		phone, err := a.newPhone()
		if err != nil {
			a.process.device.log.Warn("second user agent", "error", err)
			return
		}
		a.second = phone
	}
	if a.other != nil {
		a.other.Refresh()
		return
	}
	a.other = a.second.Register(a.account(func(softphone.RegisterEvent) {}))
}

// willSuspend implements delegate.
func (a *doubled) willSuspend() {
	if a.other != nil {
		a.other.Close()
		a.other = nil
	}
	a.app.willSuspend()
}

// killed implements delegate.
func (a *doubled) killed() {
	if a.second != nil {
		a.second.Close()
	}
	a.app.killed()
}

type silent struct{ *app }

func noAudio(a *app) delegate { return silent{a} }

// didActivateAudio implements delegate.
func (silent) didActivateAudio(uuid.UUID) {}

// lastWord is how long a 200 takes to leave a phone.
const lastWord = 50 * time.Millisecond

func diesAfterAnswer(a *app) delegate {
	a.departs.accepted = func(*call) {
		a.process.after(lastWord, func() { a.process.kill("kill -9") })
	}
	return a
}

func changesAddress(a *app) delegate {
	moved := false // once for each connection that a push made
	a.departs.registered = func() {
		if moved || len(a.dictionary) == 0 {
			moved = false
			return
		}
		moved = true
		a.process.after(lastWord, func() {
			if roam := a.process.device.cfg.Network.Roam; roam != nil {
				roam()
			}
			a.line.connections.closeAll() // the registration tries again by itself
		})
	}
	return a
}

type lateFulfilling struct{ *app }

func fulfilsLate(a *app) delegate {
	a.departs.confirmed = func(act *action) {
		a.process.after(a.process.device.cfg.Timing.Action+time.Second, act.fulfil)
	}
	return lateFulfilling{a}
}

// timedOutPerforming implements delegate: it does not listen.
func (lateFulfilling) timedOutPerforming(*action) {}

type stale struct{ *app }

func staleToken(a *app) delegate { return stale{a} }

// didUpdatePushToken implements delegate: the first tokens are announced for ever,
// and good for nothing since.
func (a stale) didUpdatePushToken(voip bool, token string) {
	had := a.storage.alertToken
	if voip {
		had = a.storage.voipToken
	}
	if had != "" {
		return
	}
	a.app.didUpdatePushToken(voip, token)
	a.process.device.cfg.Pushes.Reinstall(a.process.device.cfg.App.BundleID)
}

type staying struct{ *app }

func staysForeground(a *app) delegate { return staying{a} }

// busy implements delegate.
func (staying) busy() bool { return true }

type dozing struct{ *app }

func offlineAsleep(a *app) delegate { return dozing{a} }

// willSuspend implements delegate.
func (a dozing) willSuspend() {
	a.app.willSuspend()
	d := a.process.device
	d.queue.post(func() { d.airplane(true) })
	d.queue.after(d.cfg.Timing.Offline, func() { d.airplane(false) })
}
