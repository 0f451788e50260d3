package iphone

import (
	"time"

	"github.com/google/uuid"
)

// processState is where iOS has the app's process.
type processState string

const (
	suspended  processState = "suspended"
	background processState = "background"
	foreground processState = "foreground"
)

// process is the app's process while it exists.
type process struct {
	device *Device
	app    delegate
	state  processState
	dead   bool
	idle   *time.Timer // before it is suspended; nil: it is not idle
}

// post runs f on the main queue, unless the process is gone by then.
func (p *process) post(f func()) {
	p.device.queue.post(func() {
		if !p.dead {
			f()
		}
	})
}

// after is post after a time. The timer of a suspended process fires when it is
// resumed; here it does at once, as an app that waits for something is not
// suspended.
func (p *process) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() { p.post(f) })
}

// wake runs f in the app's process, which is started or resumed for it; to is
// background, or foreground when the user opens the app.
func (d *Device) wake(to processState, f func()) {
	if p := d.ios.process; p != nil && p.state != suspended && d.ios.launching == nil {
		if to == foreground && p.state == background {
			p.state = foreground
			p.app.didBecomeActive()
		}
		f()
		return
	}
	first := d.ios.launching == nil
	d.ios.launching = append(d.ios.launching, f)
	d.ios.opening = d.ios.opening && !first || to == foreground
	if first {
		d.queue.after(d.cfg.Timing.Launch, d.launched)
	}
}

// launched is the end of a launch or of a resumption, to the foreground if the user has
// opened the app meanwhile.
func (d *Device) launched() {
	to := background
	if d.ios.opening {
		to = foreground
	}
	waiting := d.ios.launching
	d.ios.launching = nil
	if waiting == nil { // the device was restarted, or the app removed
		return
	}
	if p := d.ios.process; p != nil {
		p.state = to
		d.tell(Event{Kind: Woken, Text: string(to)})
		if to == foreground {
			p.app.didBecomeActive()
		}
	} else {
		p = &process{device: d, state: to}
		app, err := d.ios.newApp(p)
		if err != nil {
			d.tell(Event{Kind: Killed, Text: err.Error()})
			return
		}
		p.app = app
		d.ios.process = p
		d.tell(Event{Kind: Launched, Text: string(to)})
		p.app.didLaunch(to == foreground)
	}
	for _, f := range waiting {
		if d.ios.process == nil { // what came before had it killed
			d.wake(background, f)
			continue
		}
		f()
	}
}

// rest suspends the process when it has been idle in the background for long
// enough.
func (p *process) rest() {
	if p.dead || p.state != background || p.app.busy() || p.device.waiting() {
		if p.idle != nil {
			p.idle.Stop()
			p.idle = nil
		}
		return
	}
	if p.idle != nil {
		return
	}
	p.idle = p.after(p.device.cfg.Timing.Background, func() {
		if p.idle != nil && p.state == background {
			p.suspend()
		}
	})
}

// waiting says that a push is on its way to the app.
func (d *Device) waiting() bool { return d.ios.launching != nil }

// suspend freezes the process; its connections close without a word.
func (p *process) suspend() {
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
	p.app.willSuspend()
	p.state = suspended
	p.device.tell(Event{Kind: Suspended})
}

// kill ends the process without letting it say anything, and with it its calls.
func (p *process) kill(why string) {
	if p.dead {
		return
	}
	p.device.tell(Event{Kind: Killed, Text: why})
	p.end()
	p.device.ios.screen.endAll(ByKill)
}

// remove ends the process and forgets what was on its way to the app.
func (d *Device) remove() {
	for _, v := range d.ios.deliveries {
		v.limit.Stop()
	}
	d.ios.deliveries, d.ios.launching, d.ios.notifications = nil, nil, nil
	if p := d.ios.process; p != nil {
		p.end()
	}
	d.ios.screen.endAll(ByKill)
}

func (p *process) end() {
	p.dead = true
	if p.idle != nil {
		p.idle.Stop()
	}
	p.device.ios.process = nil
	p.app.killed()
}

// rememberEnded is how long an ended call is known as one.
const rememberEnded = 10 * time.Minute

// remember notes that a call is over.
func (s *storage) remember(id uuid.UUID, reason Reason) {
	for other, e := range s.ended {
		if time.Since(e.at) > rememberEnded {
			delete(s.ended, other)
		}
	}
	s.ended[id] = endedCall{reason, time.Now()}
}

// over says whether a call is remembered as ended, and why it did.
func (s *storage) over(id uuid.UUID) (Reason, bool) {
	e, ok := s.ended[id]
	if !ok || time.Since(e.at) > rememberEnded {
		return "", false
	}
	return e.reason, true
}
