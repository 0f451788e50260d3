package push

// Want is what a caller asks Choose for. The zero value leaves it to the
// policy.
type Want uint8

// What may be asked for.
const (
	ByPolicy       Want = iota // VoIP, else alert
	OnlyVoIP                   // VoIP or nothing
	OnlyAlert                  // alert or nothing: the second chance of a call
	OnlyBackground             // background or nothing
	OnlyCancel                 // the end of a VoIP push's ringing, or nothing
)

// Capability is what the credentials of an app may send. With certificates
// VoIP and the rest are two; a .p8 key has both.
type Capability struct {
	VoIP  bool
	Alert bool // alert and background pushes: the same topic and token
	// Cancel: an accepted VoIP push may be taken back by another push. Never
	// with Apple, where a push that rings nothing gets the app killed.
	Cancel bool
	// Quiet: the token that wakes for calls takes background pushes too. Never with
	// Apple, for the same reason.
	Quiet bool
}

// Choice is what Choose decided. With a Reason nothing can be sent.
type Choice struct {
	Kind   Kind
	Token  DeviceToken
	Reason Reason // empty, NoToken or NoCredential
}

// Choose is the policy: a VoIP push when the app's credential may send one and
// the device has a VoIP token, else an ordinary alert push when credential and
// alert token allow, else the device is unreachable by push. A device without
// CallKit announces no VoIP token and so gets the alert.
func Choose(w Want, can Capability, d Device) Choice {
	voip := pick(VoIP, can.VoIP, d.VoIP)
	switch w {
	case OnlyVoIP:
		return voip
	case OnlyAlert:
		return pick(Alert, can.Alert, d.Alert)
	case OnlyBackground:
		if can.Quiet {
			return pick(Background, true, d.VoIP)
		}
		return pick(Background, can.Alert, d.Alert)
	case OnlyCancel:
		return pick(Cancel, can.Cancel, d.VoIP)
	}
	if voip.Reason == "" {
		return voip
	}
	alert := pick(Alert, can.Alert, d.Alert)
	if alert.Reason == NoToken && voip.Reason == NoCredential {
		return voip // a token is there, the credential is what the operator must mend
	}
	return alert
}

func pick(k Kind, can bool, t DeviceToken) Choice {
	switch {
	case t == "":
		return Choice{Kind: k, Reason: NoToken}
	case !can:
		return Choice{Kind: k, Reason: NoCredential}
	}
	return Choice{Kind: k, Token: t}
}
