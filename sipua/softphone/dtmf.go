package softphone

import (
	"strconv"

	"wakebridge/sipua/leg"
)

// Press presses keys, one after the other, as telephone events (RFC 4733) in the
// call's audio, which must have started, or by INFO (AudioConfig.Keys); it does not
// wait until they are sent. Errors: ErrNoEvents, audio.ErrDigit, leg.ErrState before
// there is audio.
func (c *Call) Press(digits string) error {
	return c.do("press", func() error {
		if c.phone.cfg.Audio.Keys == KeysInfo {
			return c.pressInfo(digits)
		}
		if c.media == nil || !c.media.remote.known() {
			return leg.ErrState
		}
		payloadType, err := strconv.ParseUint(c.media.remote.events, 10, 7)
		if err != nil {
			return ErrNoEvents
		}
		return c.media.sender.Press(uint8(payloadType), digits)
	})
}

// Digits are the keys that the peer pressed so far.
func (c *Call) Digits() string {
	if c.phone.cfg.Audio.Keys == KeysInfo {
		c.mu.Lock()
		defer c.mu.Unlock()
		return string(c.heard)
	}
	if m := c.mediaNow(); m != nil {
		return m.receiver.Digits()
	}
	return ""
}

// hearKeys says under which payload type the peer may send telephone events.
func (m *media) hearKeys(events string) {
	payloadType, err := strconv.ParseUint(events, 10, 7)
	if err != nil {
		payloadType = 0
	}
	m.receiver.SetEvents(uint8(payloadType))
}
