package apns

import (
	"log/slog"
	"sync"
	"time"

	"wakebridge/push"
)

// alarmRest is the least time between two alarms in the log for one reason; the
// metric counts all.
const alarmRest = 10 * time.Minute

// alarms tell the operator of refusals that are our own fault: no push of that
// form will ever get through.
type alarms struct {
	log     *slog.Logger
	counted func(push.Reason)

	mu   sync.Mutex
	last map[push.Reason]time.Time
}

// raise tells of one refused request.
func (a *alarms) raise(m letter, refused answer) {
	a.counted(refused.reason)
	a.mu.Lock()
	now := time.Now()
	reason := refused.reason
	if _, known := rules[reason]; !known {
		reason = "" // Apple's new ones share a place: the map stays small
	}
	last, told := a.last[reason]
	quiet := told && now.Sub(last) < alarmRest
	if !quiet {
		if a.last == nil {
			a.last = make(map[push.Reason]time.Time)
		}
		a.last[reason] = now
	}
	a.mu.Unlock()
	if quiet {
		return
	}
	n := m.notification
	a.log.Error("APNs refused a request for a fault of ours", "reason", string(refused.reason), "status", refused.status,
		"hint", ruleFor(refused.status, refused.reason).hint, "topic", n.Topic, "push_type", string(n.PushType), "push_id", n.ApnsID)
}
