package iphone

import (
	"slices"

	"github.com/google/uuid"
)

// notification is an ordinary push on the lock screen.
type notification struct {
	uuid    uuid.UUID // uuid.Nil: of no call
	payload []byte
}

// notify shows a notification; another of the same call replaces it. iOS runs none
// of the app's code for it.
func (d *Device) notify(p Push) {
	n := notification{payload: p.Payload}
	call, err := readAlert(p.Payload)
	if err != nil {
		d.violate(RulePayload, uuid.Nil, err.Error())
	} else {
		n.uuid = call.uuid
		d.ios.notifications = slices.DeleteFunc(d.ios.notifications, func(o notification) bool { return o.uuid == n.uuid })
	}
	d.ios.notifications = append(d.ios.notifications, n)
	d.tell(Event{Kind: Notified, UUID: n.uuid, Text: readTitle(p.Payload)})
	d.cfg.User.notification(d)
}

// tap opens the app by the newest notification.
func (d *Device) tap() error {
	if len(d.ios.notifications) == 0 {
		return ErrNoNotification
	}
	last := len(d.ios.notifications) - 1
	n := d.ios.notifications[last]
	d.ios.notifications = d.ios.notifications[:last]
	d.unlock()
	d.tell(Event{Kind: Tapped, UUID: n.uuid})
	d.wake(foreground, func() { d.ios.process.app.didReceiveNotification(n.payload) })
	return nil
}
