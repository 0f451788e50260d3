package push

// typeMissed is the type of a message that says: there was a call, it is over.
const typeMissed = "missed"

// typeRefresh is the type of a push that asks the app to register again, of which the
// user sees nothing.
const typeRefresh = "refresh"

// missedCall is the notification of a missed call as a person sees it. It takes
// the place of that of the call (the same collapse id) and breaks no silence.
func missedCall(n Notification) aps {
	a := ringing(n)
	a.Alert.Body = "Missed call"
	if n.Video {
		a.Alert.Body = "Missed video call"
	}
	a.InterruptionLevel = "active"
	return a
}
