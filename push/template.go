package push

import "time"

// TemplateNamed is the layout that push.apps[].payload of the configuration
// names: wakebridge (also ""), linphone, flutter_callkit or callkeep. All have
// our own keys, and the others beside them what existing apps read.
func TemplateNamed(name string) (t Template, ok bool) {
	switch name {
	case "", "wakebridge":
		return Wakebridge, true
	case "linphone":
		return Linphone, true
	case "flutter_callkit":
		return FlutterCallkit, true
	case "callkeep":
		return Callkeep, true
	}
	return nil, false
}

// flutterCallkit is what the plug-in flutter_callkit_incoming reads (its
// PUSHKIT.md): id is a UUID and CallKit's key, handle is one of ours.
type flutterCallkit struct {
	message
	ID         string `json:"id"`
	NameCaller string `json:"nameCaller"`
	IsVideo    bool   `json:"isVideo"`
}

// FlutterCallkit is the layout for apps with flutter_callkit_incoming. Such an
// app shows nameCaller as it is, so it is never empty.
func FlutterCallkit(n Notification) any {
	m := ours(n)
	if n.Kind == Background {
		return m
	}
	return flutterCallkit{message: m, ID: n.UUID, NameCaller: caller(n), IsVideo: n.Video}
}

// callkeep is what apps with react-native-callkeep read by habit: uuid and
// handle are ours.
type callkeep struct {
	message
	CallerName string `json:"callerName"`
	HasVideo   bool   `json:"hasVideo"`
}

// Callkeep is the layout for apps with react-native-callkeep.
func Callkeep(n Notification) any {
	m := ours(n)
	if n.Kind == Background {
		return m
	}
	return callkeep{message: m, CallerName: caller(n), HasVideo: n.Video}
}

// linphone is what Flexisip sends to apps made with the Linphone SDK: in a VoIP
// push the call's keys are inside aps, in an alert beside it.
type linphone struct {
	message
	APS           linphoneAPS `json:"aps"` // in place of message's
	CallID        string      `json:"call-id,omitempty"`
	SendTime      string      `json:"send-time,omitempty"`
	FromURI       string      `json:"from-uri"`
	DisplayName   string      `json:"display-name"`
	TTL           int64       `json:"pn_ttl"` // s
	CustomPayload struct{}    `json:"customPayload"`
}

type linphoneAPS struct {
	Alert             *linphoneAlert `json:"alert,omitempty"`
	Sound             string         `json:"sound"`
	InterruptionLevel string         `json:"interruption-level,omitempty"`
	LocKey            string         `json:"loc-key,omitempty"`
	LocArgs           []string       `json:"loc-args,omitempty"`
	CallID            string         `json:"call-id,omitempty"`
	UUID              string         `json:"uuid,omitempty"`
	SendTime          string         `json:"send-time,omitempty"`
}

// linphoneAlert has the text twice: by the key that Linphone's apps translate,
// and ready made.
type linphoneAlert struct {
	alert
	LocKey  string   `json:"loc-key,omitempty"`
	LocArgs []string `json:"loc-args,omitempty"`
}

// incomingCall is the key of "incoming call" in the texts of Linphone's apps.
const incomingCall = "IC_MSG"

// Linphone is the layout for apps made with the Linphone SDK. They find the
// call by the Call-ID of the INVITE that they will get.
func Linphone(n Notification) any {
	m := ours(n)
	if n.Kind == Background {
		return m
	}
	l := linphone{message: m, FromURI: n.From, DisplayName: n.Name, TTL: lifetime(n)}
	who, sent := []string{caller(n)}, n.SentAt.UTC().Format(time.DateTime)
	if n.Kind == VoIP {
		l.APS = linphoneAPS{LocKey: incomingCall, LocArgs: who, CallID: n.CallID, UUID: n.UUID, SendTime: sent}
		return l
	}
	l.CallID, l.SendTime = n.CallID, sent
	l.APS = linphoneAPS{Sound: m.APS.Sound, InterruptionLevel: m.APS.InterruptionLevel}
	if m.APS.Alert != nil {
		l.APS.Alert = &linphoneAlert{alert: *m.APS.Alert}
		if m.Type == typeCall {
			l.APS.Alert.LocKey, l.APS.Alert.LocArgs = incomingCall, who
		}
	}
	return l
}

// lifetime is how long after it was sent a push is good for, in whole seconds.
func lifetime(n Notification) int64 {
	if n.ExpiresAt.IsZero() || n.SentAt.IsZero() {
		return 0
	}
	return max(0, int64(n.ExpiresAt.Sub(n.SentAt)/time.Second))
}
