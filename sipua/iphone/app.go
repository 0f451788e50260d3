package iphone

import (
	"github.com/google/uuid"

	"wakebridge/sipua/softphone"
)

// app is the correct app: it does what an app should that wants to be woken and
// never to be killed for it. Its three flows, incoming, answer and end, meet in its
// dictionary.
type app struct {
	process    *process
	provider   *callScreen // CXProvider
	controller callController
	registry   pushRegistry
	storage    *storage
	phone      *softphone.Phone

	// dictionary holds the calls by their UUID. An entry is made when the call is
	// reported, which for a woken app is before its INVITE is there: the user may
	// answer before that. UUIDs are compared as values, for Swift prints them in
	// capitals.
	dictionary map[uuid.UUID]*call
	line       line
	opening    bool // the user has just opened the app, which connects for that
	departs    departures
}

// call is an entry of the dictionary.
type call struct {
	uuid   uuid.UUID
	callID string // that the push announced; "" if it said none, or there was none
	pushed bool
	leg    *softphone.Call // nil: its INVITE is not here
	lost   bool            // the leg's connection is gone, and it was not answered
	// stands: the leg was lost, and its INVITE did not come again. One that comes all the
	// same, as the server sees late that the connection is gone, takes its place.
	stands bool
	answer *action // the user's answer, until the ACK of our 200
	// refusal is the status that the server is to get, and has not yet: 603 when the
	// user declined, others when he was not asked. 0: none.
	refusal int
	number  string        // of a call that the user makes
	changes chan struct{} // closed when the newest re-INVITE is through; nil: there was none
	wait    stopper       // for the INVITE, or to be registered
}

// reachable says that the call can be answered or refused.
func (c *call) reachable() bool { return c.leg != nil && !c.lost }

// decided says that the user has answered or declined, and the server is not told yet.
func (c *call) decided() bool { return c.refusal != 0 || c.answer != nil }

// newApp starts the app that the device's policy says.
func newApp(p *process) (delegate, error) {
	d := p.device
	a := &app{process: p, provider: d.ios.screen, controller: callController{p}, registry: pushRegistry{p}, storage: d.ios.storage,
		dictionary: make(map[uuid.UUID]*call)}
	a.line.connections = newConnections(d.cfg.Network)
	a.line.connections.setOffline(d.ios.offline)
	phone, err := a.newPhone()
	if err != nil {
		return nil, err
	}
	a.phone = phone
	a.remember()
	if d.cfg.Policy.install != nil {
		return d.cfg.Policy.install(a), nil
	}
	return a, nil
}

// newPhone makes the app's SIP user agent.
func (a *app) newPhone() (*softphone.Phone, error) {
	d, p := a.process.device, a.process
	sound := d.cfg.Audio
	sound.Manual = true
	agent := d.cfg.App.BundleID
	if d.cfg.App.Version != "" {
		agent += "/" + d.cfg.App.Version
	}
	cfg := softphone.Config{
		AOR: d.cfg.Account.AOR, Display: d.cfg.Account.Display, Password: d.cfg.Account.Password, Agent: agent,
		Dial: a.line.connections.dial, Media: d.cfg.Network.Media, Audio: sound, Tap: d.cfg.Network.Tap, Log: d.log,
		Observe: func(c *softphone.Call, e softphone.Event) { p.post(func() { a.legEvent(c, e) }) },
	}
	if d.cfg.Network.Packet != nil {
		cfg.Packet = a.line.connections.packet
	}
	return softphone.New(cfg)
}

// didLaunch implements delegate. VoIP pushes are for CallKit alone: without it the
// app registers for ordinary ones only (the article's rule for iOS 8 and 9), and
// the server sees no VoIP token.
func (a *app) didLaunch(foreground bool) {
	if a.process.device.callKit() {
		a.registry.setDesiredPushTypes()
	}
	a.registry.registerForRemoteNotifications()
	if foreground {
		a.opening = true
		a.process.post(a.didBecomeActive) // behind the tokens
	}
}

// didBecomeActive implements delegate.
func (a *app) didBecomeActive() {
	a.opening = true
	a.connect()
	a.process.post(func() { a.opening = false })
}

// didUpdatePushToken implements delegate.
func (a *app) didUpdatePushToken(voip bool, token string) {
	s := a.storage
	had, what := &s.alertToken, "alert"
	if voip {
		had, what = &s.voipToken, "voip"
	}
	if *had == token {
		return
	}
	*had = token
	a.process.device.tell(Event{Kind: TokenIssued, Text: what})
	a.remember()
	if a.line.registration != nil {
		a.line.registration.Refresh()
	}
}

// didInvalidatePushToken implements delegate: the server must not push to it any
// more.
func (a *app) didInvalidatePushToken() {
	a.storage.voipToken = ""
	a.remember()
	if a.line.registration != nil {
		a.line.registration.Refresh()
	}
}

// protectedDataDidBecomeAvailable implements delegate: now the app can register.
func (a *app) protectedDataDidBecomeAvailable() {
	if a.line.waiting {
		a.line.waiting = false
		a.connect()
	}
}

// didReceiveNotification implements delegate: the user tapped on it, so the app is
// in front of him. The INVITE follows when it is registered, and with it the call.
func (a *app) didReceiveNotification([]byte) {
	if !a.opening {
		a.connect()
	}
}

// didActivateAudio implements delegate: before it no packet of audio leaves.
func (a *app) didActivateAudio(id uuid.UUID) {
	c := a.dictionary[id]
	if c == nil || c.leg == nil {
		return
	}
	if err := c.leg.StartAudio(); err != nil {
		a.process.device.log.Info("start audio", "uuid", id, "error", err)
		return
	}
	a.tell(Event{Kind: AudioStarted, UUID: id})
}

// didDeactivateAudio implements delegate.
func (a *app) didDeactivateAudio(id uuid.UUID) {
	c := a.dictionary[id]
	if c == nil || c.leg == nil {
		return
	}
	if err := c.leg.StopAudio(); err != nil {
		a.process.device.log.Info("stop audio", "uuid", id, "error", err)
		return
	}
	a.tell(Event{Kind: AudioStopped, UUID: id})
}

// isRegistered implements delegate.
func (a *app) isRegistered() bool { return a.line.registered }

// busy implements delegate: while a call lives or a REGISTER is under way.
func (a *app) busy() bool { return len(a.dictionary) > 0 || a.line.connecting }

// willSuspend implements delegate.
func (a *app) willSuspend() { a.disconnect() }

// killed implements delegate.
func (a *app) killed() {
	for _, c := range a.dictionary {
		c.wait.stop()
	}
	a.phone.Close()
	a.line.connections.closeAll()
}

func (a *app) tell(e Event) { a.process.device.tell(e) }

// finish ends a call that the user did not end: it leaves the dictionary and the
// screen, and a push that comes late will find it among the ended.
func (a *app) finish(c *call, reason Reason) {
	delete(a.dictionary, c.uuid)
	c.wait.stop()
	if c.refusal == 0 {
		a.storage.remember(c.uuid, reason)
		a.provider.reportCallEnded(c.uuid, reason)
	}
	if c.answer != nil {
		c.answer.fail()
		c.answer = nil
	}
}

// callOf finds the entry of a leg.
func (a *app) callOf(leg *softphone.Call) *call {
	for _, c := range a.dictionary {
		if c.leg == leg {
			return c
		}
	}
	return nil
}
