package iphone

import (
	"time"

	"github.com/google/uuid"
)

// pushRegistry is PKPushRegistry in the app's process.
type pushRegistry struct{ process *process }

// setDesiredPushTypes asks for VoIP pushes: a token follows, by
// didUpdatePushToken.
func (r pushRegistry) setDesiredPushTypes() {
	d := r.process.device
	if token := d.cfg.Pushes.RegisterVoIP(d.cfg.App.BundleID); token != "" {
		r.process.post(func() { r.process.app.didUpdatePushToken(true, token) })
	}
}

// registerForRemoteNotifications asks for the token of ordinary pushes.
func (r pushRegistry) registerForRemoteNotifications() {
	d := r.process.device
	if token := d.cfg.Pushes.RegisterAlert(d.cfg.App.BundleID); token != "" {
		r.process.post(func() { r.process.app.didUpdatePushToken(false, token) })
	}
}

// delivery is a VoIP push on its way to the app, as callservicesd watches it.
type delivery struct {
	push     Push
	reported bool
	limit    *time.Timer
}

// deliver takes a VoIP push to the app, which is started or resumed if need be. If
// nothing was reported when the app's method returns, PushKit throws; if nothing
// was after 7 s, callservicesd kills.
func (d *Device) deliver(p Push) {
	v := &delivery{push: p}
	d.ios.deliveries = append(d.ios.deliveries, v)
	v.limit = d.queue.after(d.cfg.Timing.Report, func() { d.reportIsDue(v) })
	d.wake(background, func() {
		proc := d.ios.process
		mustReport := d.mustReport()
		var metadata *pushMetadata
		if d.tellsMustReport() {
			metadata = &pushMetadata{mustReport}
		}
		proc.app.didReceiveIncomingPush(p, metadata)
		if proc.dead { // the app killed itself
			return
		}
		if mustReport && !v.reported {
			d.forget(v)
			d.violate(RuleReport, uuid.Nil, "the app's delegate returned without a report")
			proc.kill("NSInternalInconsistencyException: it never posted an incoming call")
			d.strike()
			return
		}
		if !mustReport {
			d.forget(v)
		}
	})
}

// mustReport says that a push has to be reported: the app is not in front of the
// user, and in no call.
func (d *Device) mustReport() bool {
	return d.ios.process.state != foreground && !d.ios.screen.inCall()
}

// reported notes that the app reported a call: all that was delivered counts.
func (d *Device) reported() {
	for _, v := range d.ios.deliveries {
		v.reported = true
		v.limit.Stop()
	}
	d.ios.deliveries = nil
}

func (d *Device) forget(v *delivery) {
	v.limit.Stop()
	for i, other := range d.ios.deliveries {
		if other == v {
			d.ios.deliveries = append(d.ios.deliveries[:i:i], d.ios.deliveries[i+1:]...)
			return
		}
	}
}

// reportIsDue is callservicesd's own check.
func (d *Device) reportIsDue(v *delivery) {
	if v.reported {
		return
	}
	d.forget(v)
	d.violate(RuleReportTime, uuid.Nil, "nothing was reported "+d.cfg.Timing.Report.String()+" after the push")
	if p := d.ios.process; p != nil {
		p.kill("0xBAADCA11")
	}
	d.strike()
}

// strike counts a push that was not reported; after too many iOS gives up on the
// app, and neither it nor the server is told.
func (d *Device) strike() {
	d.ios.strikes++
	if d.ios.strikes >= d.cfg.Strikes && !d.ios.blocked {
		d.ios.blocked = true
		d.tell(Event{Kind: Blocked, Text: "until the app is installed anew"})
	}
}
