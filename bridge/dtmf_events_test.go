package bridge

import "testing"

// Keys go out at a clock that both have, best at that of telephone sound.
func TestPreferredEvents(t *testing.T) {
	type types = map[uint8]uint32
	for name, c := range map[string]struct {
		theirs, ours types
		payloadType  uint8
		clock        uint32
	}{
		"one":                   {types{101: 8000}, types{101: 8000}, 101, 8000},
		"theirs under another":  {types{96: 8000}, types{101: 8000}, 96, 8000},
		"both of two":           {types{96: 48000, 97: 8000}, types{96: 48000, 97: 8000}, 97, 8000},
		"one was left":          {types{96: 48000, 97: 8000}, types{96: 48000}, 96, 48000},
		"the other one":         {types{96: 48000, 97: 8000}, types{97: 8000}, 97, 8000},
		"no clock in common":    {types{96: 16000, 97: 48000}, types{101: 8000}, 96, 16000},
		"two of the same clock": {types{110: 8000, 101: 8000}, types{110: 8000}, 101, 8000},
	} {
		if payloadType, clock := preferred(c.theirs, c.ours); payloadType != c.payloadType || clock != c.clock {
			t.Errorf("%s: %d at %d Hz", name, payloadType, clock)
		}
	}
}
