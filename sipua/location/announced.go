package location

// announcedKey is the key of the device that a backend announces: the one with
// that instance or one of these tokens, else the user's only device if nothing
// contradicts, that is, if it has said neither who it is nor how to push to it.
// This is MatchDevice's last rule the other way round: a SIP stack that knows no
// instance may register before its backend speaks as well as after.
func announcedKey(devices []Device, instance string, tokens []string) string {
	if key, known := MatchDevice(devices, Binding{Instance: instance}, tokens...); known {
		return key
	}
	if len(tokens) > 0 && len(devices) == 1 && devices[0].Instance == "" && !devices[0].Push.HasToken() {
		return devices[0].Key
	}
	return NewKey(instance, firstOf(tokens), "")
}
