package bridge

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"wakebridge/bridge/rules"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/media"
	"wakebridge/bridge/media/capture"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/location"
)

// Capture gives the messages of captured calls to their captures: sipua.Config.Tap.
func Capture(s *capture.Store) func(sipua.Traffic) {
	return func(t sipua.Traffic) {
		id := t.Message.CallID()
		if id == nil {
			return
		}
		m := capture.Message{At: t.At, From: t.Flow.Remote(), To: t.Flow.Local(), Transport: t.Flow.Transport().String(), Data: t.Raw}
		if seq := t.Message.CSeq(); seq != nil {
			m.Begins = seq.MethodName == sip.INVITE || seq.MethodName == sip.ACK // also the challenge of an INVITE
		}
		if t.Sent {
			m.From, m.To = m.To, m.From
		}
		s.Message(id.Value(), m)
	}
}

// Redact is what a store does to messages: capture.Config.Redact. Where the media in
// the files is no whole SRTP, the names of suites get dashes: readers that see SRTP
// announced take the end of each packet for its tag.
func Redact(wholeSRTP bool) func(message []byte) {
	if wholeSRTP {
		return sipua.Redact
	}
	return func(message []byte) {
		sipua.Redact(message)
		for line := range bytes.Lines(message) {
			value, found := bytes.CutPrefix(line, []byte("a=crypto:"))
			if !found {
				continue
			}
			_, value, _ = bytes.Cut(value, []byte(" "))
			suite, _, _ := bytes.Cut(value, []byte(" "))
			for i, c := range suite {
				if c == '_' {
					suite[i] = '-'
				}
			}
		}
	}
}

// startCapture begins the call's capture. Its INVITE passed the tap a moment ago.
func (c *Call) startCapture() {
	c.own.capture = c.b.cfg.Captures.Begin(c.id)
	c.own.capture.Claim(c.tx.Request.CallID().Value())
}

// show lets the capture see a side's packets; addr is the address that SDP shows of it.
func (c *Call) show(side *media.Side, addr netip.Addr) {
	if r := c.own.capture; r != nil {
		side.Observe(media.Observation{By: r, Local: netip.AddrPortFrom(addr, 0), Plain: r.Plain()})
	}
}

// endCapture says what becomes of the capture.
func (c *Call) endCapture() {
	r := c.own.capture
	r.Comment(time.Now(), fmt.Sprintf("call over: %s, %d, %s", c.rec.Result, c.rec.Status, c.rec.Reason))
	r.End(c.rec.failed())
}

// failed says that a call is one of those that capture.calls: failed keeps: nobody
// answered it, or it was answered and ended by a fault, or there is something to say of
// its audio, or one leg sent none.
func (r *Record) failed() bool {
	return r.Result != rules.Answered || r.HangupBy == string(rules.ByServer) || len(r.Audio) > 0 || r.oneWay()
}

// oneWay says that one leg sent media and the other one none.
func (r *Record) oneWay() bool {
	silent, speaking := false, false
	for _, m := range r.Media {
		var n uint64
		for _, s := range m.Streams {
			n += s.RTP.Packets
		}
		silent, speaking = silent || n == 0, speaking || n > 0
	}
	return silent && speaking
}

// pushWords is what a capture says of a push: what became of it, and what it was sent
// with; of its token only what may be shown.
func pushWords(name string, p location.PushInfo, r PushRecord) string {
	token := p.VoIP
	if r.Kind == location.Alert.String() {
		token = p.Alert
	}
	words := name + ": " + r.Words
	for _, part := range []struct{ name, value string }{
		{"service", p.Provider}, {"environment", r.Environment}, {"app", p.BundleID}, {"token", token.Masked()}, {"reason", r.Reason}, {"id", r.ID},
	} {
		if part.value != "" {
			words += ", " + part.name + " " + part.value
		}
	}
	return header.Clean(words)
}
