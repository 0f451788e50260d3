package softphone

import (
	"fmt"
	"strings"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua/leg"
)

// KeyWay says how a phone sends and takes keys.
type KeyWay uint8

// The ways.
const (
	// KeysEvents: as telephone events (RFC 4733).
	KeysEvents KeyWay = iota
	// KeysInfo: by INFO with application/dtmf-relay; its SDP has no telephone events.
	KeysInfo
)

// infoMillis is how long a key by INFO is said to be down.
const infoMillis = 160

// keypad are the keys that go and come by INFO. The loop's.
type keypad struct {
	toTell []string // wait to be sent
	busy   bool     // one is on its way
	heard  []byte   // by Call.mu
}

// pressInfo queues keys that go by INFO, one after the other.
func (c *Call) pressInfo(digits string) error {
	digits = strings.ToUpper(digits)
	for _, d := range digits {
		if !strings.ContainsRune("0123456789*#ABCD", d) {
			return fmt.Errorf("%q: %w", d, audio.ErrDigit)
		}
		c.toTell = append(c.toTell, string(d))
	}
	return c.tellKey()
}

// tellKey sends the next key if none is on its way.
func (c *Call) tellKey() error {
	if c.busy || len(c.toTell) == 0 {
		return nil
	}
	body := fmt.Sprintf("Signal=%s\r\nDuration=%d\r\n", c.toTell[0], infoMillis)
	if _, err := c.leg.Info("application/dtmf-relay", []byte(body)); err != nil {
		return err
	}
	c.toTell, c.busy = c.toTell[1:], true
	return nil
}

// told goes on after the outcome of an INFO.
func (c *Call) told(e leg.InfoAnswered) {
	c.add(Event{Kind: KeyAnswered, Status: e.Status, Err: e.Err})
	c.busy = false
	if err := c.tellKey(); err != nil {
		c.phone.cfg.Log.Warn("keys are lost", "error", err)
	}
}

// gotInfo answers an INFO: it notes the key of one that has some.
func (c *Call) gotInfo(e leg.Info) error {
	if !strings.EqualFold(e.ContentType, "application/dtmf-relay") {
		return c.leg.AnswerInfo(e, 415, "")
	}
	for line := range strings.Lines(string(e.Body)) {
		if name, key, _ := strings.Cut(strings.TrimSpace(line), "="); name == "Signal" && len(key) == 1 {
			c.mu.Lock()
			c.heard = append(c.heard, key[0])
			c.mu.Unlock()
			return c.leg.AnswerInfo(e, 200, "")
		}
	}
	return c.leg.AnswerInfo(e, 400, "")
}
