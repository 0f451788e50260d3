package iphone

import "github.com/google/uuid"

// Status is the state of a device at one moment.
type Status struct {
	App          string       `json:"app"` // not running, suspended, background or foreground
	Registered   bool         `json:"registered"`
	Online       bool         `json:"online"`
	Locked       bool         `json:"locked"`
	DoNotDisturb bool         `json:"do_not_disturb,omitempty"`
	CallKit      bool         `json:"callkit"`
	VoIPToken    bool         `json:"voip_token"`  // the app has one
	AlertToken   bool         `json:"alert_token"` // likewise
	Strikes      int          `json:"strikes"`     // pushes that were not reported
	Blocked      bool         `json:"blocked"`     // for them: no VoIP pushes any more
	Violations   int          `json:"violations"`
	Calls        []CallStatus `json:"calls"` // in the order in which they came
}

// CallStatus is a call on the screen.
type CallStatus struct {
	UUID  uuid.UUID `json:"uuid"`
	State string    `json:"state"` // dialing, ringing, answering, active or held
	Name  string    `json:"name"`
	Muted bool      `json:"muted,omitempty"`
}

// Status returns the device's state. Errors: ErrClosed.
func (d *Device) Status() (Status, error) {
	var s Status
	err := d.queue.do(func() error {
		i := &d.ios
		s = Status{App: "not running", Online: !i.offline, Locked: i.locked, DoNotDisturb: i.doNotDisturb, CallKit: d.callKit(),
			VoIPToken: i.storage.voipToken != "", AlertToken: i.storage.alertToken != "",
			Strikes: i.strikes, Blocked: i.blocked, Violations: len(d.Violations()), Calls: []CallStatus{}}
		if p := i.process; p != nil {
			s.App, s.Registered = string(p.state), p.app.isRegistered()
		}
		for _, id := range i.screen.order {
			c := i.screen.calls[id]
			s.Calls = append(s.Calls, CallStatus{UUID: c.id, State: string(c.state), Name: c.name, Muted: c.muted})
		}
		return nil
	})
	return s, err
}
