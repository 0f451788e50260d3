package bridge

import (
	"errors"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge/info"
	"wakebridge/bridge/media"
	"wakebridge/bridge/media/dtmf"
	"wakebridge/sipua/leg"
)

// maxInfos is how many keys may wait to be told to a leg by INFO.
const maxInfos = 32

// infoQueue are the keys for one leg. One is on its way at a time: INFO that overtake
// each other would be keys in another order.
type infoQueue struct {
	waiting []infoOut
	sent    *infoOut // on its way
	number  int      // of sent
}

// infoOut is a key that a leg is told by INFO.
type infoOut struct {
	contentType string
	press       dtmf.Press
	in          *infoIn // how it came; nil: as a telephone event
}

// info handles an INFO of a leg.
func (c *Call) info(from *leg.Leg, ev leg.Info) {
	answer := func(status int, phrase string, headers ...sip.Header) {
		c.late("answer INFO", from.AnswerInfo(ev, status, phrase, headers...))
	}
	switch {
	case ev.Request.GetHeader("Info-Package") != nil:
		answer(469, "Bad Info Package", sip.NewHeader("Recv-Info", "")) // RFC 6086 s4.2.2
		return
	case len(ev.Body) == 0 && ev.ContentType == "":
		answer(200, "") // it asks whether we live (RFC 2976 s2.2)
		return
	case !info.Is(ev.ContentType):
		answer(415, "", sip.NewHeader("Accept", info.TypeRelay+", "+info.TypeDigit)) // RFC 3261 s8.2.3
		return
	}
	press, err := info.Parse(ev.ContentType, ev.Body)
	if err != nil {
		answer(400, "Bad DTMF Body")
		return
	}
	if c.media == nil || c.media.closed {
		answer(500, "Call Not Answered", retrySoon())
		return
	}
	c.media.keypads.pressed(infoIn{from: from, contentType: ev.ContentType, press: press, asked: &ev})
}

// infoIn is a key that a leg told by INFO.
type infoIn struct {
	from        *leg.Leg
	contentType string
	press       dtmf.Press
	asked       *leg.Info // waits for the outcome; nil: it was answered
}

// answer answers the INFO, if that was not done.
func (k *keypads) answer(in infoIn, status int, phrase string, headers ...sip.Header) {
	if in.asked != nil {
		k.m.c.late("answer INFO", in.from.AnswerInfo(*in.asked, status, phrase, headers...))
	}
}

// pressed takes a key that came by INFO.
func (k *keypads) pressed(in infoIn) {
	if e := k.end(in.from); !e.takesInfo {
		e.takesInfo = true
		k.listen()
	}
	if _, _, _, ok := k.m.sides(in.from); !ok {
		k.early(in)
		return
	}
	if len(k.end(in.from).waiting) >= maxInfos {
		k.lost()
		k.answer(in, 503, "Too Many Keys", sip.NewHeader("Retry-After", "1"))
		return
	}
	later := in
	later.asked = nil
	if k.waits(later) {
		k.answer(in, 200, "")
		return
	}
	k.pass(in)
}

// pass gives a key that came by INFO to the other leg.
func (k *keypads) pass(in infoIn) {
	_, other, its, ok := k.m.sides(in.from)
	if !ok {
		return // the call is over, which answers everything
	}
	e := k.end(other)
	line := e.events()
	switch {
	case k.byInfo(e):
		if !k.tell(other, infoOut{contentType: in.contentType, press: in.press, in: &in}) {
			k.answer(in, 503, "Too Many Keys", sip.NewHeader("Retry-After", "1"))
		}
	case line.ok && line.takes(in.press.Event):
		k.event(in, its, line)
	default:
		k.lost()
		k.answer(in, 415, "DTMF Cannot Be Passed On")
	}
}

// early gives a key of the caller to a callee that is heard before it answers: what it
// says may ask for one, and then an answer may never come. It has no dialog for an INFO
// yet. A caller that has telephone events itself sends those, if it means it.
func (k *keypads) early(in infoIn) {
	own, heard := k.end(in.from), k.m.heard
	var line eventLine
	if heard != nil && !heard.leg.over && heard.try.side != nil && in.from == k.m.c.a.Leg {
		line = k.end(heard.leg.leg).events()
	}
	if own.events().ok || !line.ok || !line.takes(in.press.Event) {
		k.answer(in, 500, "Call Not Answered", retrySoon())
		return
	}
	k.event(in, heard.try.side, line)
}

// retrySoon goes with what cannot be done now: 480 within a dialog might be taken for its
// end (RFC 5057 s5).
func retrySoon() sip.Header { return sip.NewHeader("Retry-After", "1") }

// event sends a key that came by INFO as a telephone event.
func (k *keypads) event(in infoIn, its *media.Side, line eventLine) {
	err := its.Press(media.Key{Stream: line.stream, PayloadType: line.send, Clock: line.clock, Press: in.press})
	if errors.Is(err, media.ErrNowhere) { // on hold, for instance
		k.lost()
		k.answer(in, 500, "DTMF Cannot Be Passed On Now", retrySoon())
		return
	}
	if err != nil {
		k.lost()
		k.answer(in, 503, "Too Many Keys", sip.NewHeader("Retry-After", "1"))
		return
	}
	k.count(func(r *DTMFRecord) *int { return &r.ToEvents }, metricInfoToEvents)
	k.answer(in, 200, "")
}

// reporter is what media tells of the keys that a leg pressed: it only posts. take
// says that they went no further as events.
func (k *keypads) reporter(from *leg.Leg, take bool) func(dtmf.Press) {
	return func(p dtmf.Press) {
		k.m.c.own.box.post(func() { k.heard(from, p, take) })
	}
}

// heard passes a key on that was a telephone event.
func (k *keypads) heard(from *leg.Leg, p dtmf.Press, take bool) {
	k.saw(k.end(from))
	if !take {
		return
	}
	_, other, _, ok := k.m.sides(from)
	switch {
	case !ok:
	case k.mode != DTMFEvents && k.end(other).takesInfo:
		k.tell(other, infoOut{contentType: info.TypeRelay, press: p})
	default:
		k.lost()
	}
}

// tell queues a key for a leg; false: too many wait, it is lost.
func (k *keypads) tell(to *leg.Leg, out infoOut) bool {
	q := &k.end(to).infos
	if len(q.waiting) >= maxInfos {
		k.lost()
		return false
	}
	q.waiting = append(q.waiting, out)
	k.next(to)
	return true
}

// next sends a leg the first key that waits, if none is on its way.
func (k *keypads) next(to *leg.Leg) {
	q := &k.end(to).infos
	for q.sent == nil && len(q.waiting) > 0 {
		out := q.waiting[0]
		q.waiting = q.waiting[1:]
		number, err := to.Info(out.contentType, info.Body(out.contentType, out.press))
		if err == nil {
			q.sent, q.number = &out, number
			return
		}
		k.m.c.late("send INFO", err)
		k.outcome(to, out, 500)
	}
}

// told is the outcome of an INFO to a leg.
func (k *keypads) told(to *leg.Leg, ev leg.InfoAnswered) {
	q := &k.end(to).infos
	if q.sent == nil || q.number != ev.Number {
		return
	}
	out := *q.sent
	q.sent = nil
	k.outcome(to, out, ev.Status)
	k.next(to)
}

// outcome counts what became of a key and tells who asked for it.
func (k *keypads) outcome(to *leg.Leg, out infoOut, status int) {
	c := k.m.c
	accepted := status < 300
	switch {
	case !accepted:
		k.lost()
		if e := k.end(to); !e.refused {
			e.refused = true
			c.note("DTMF by INFO is refused: %d", status)
		}
	case out.in != nil:
		k.count(func(r *DTMFRecord) *int { return &r.Relayed }, metricInfoToInfo)
	default:
		k.count(func(r *DTMFRecord) *int { return &r.ToInfo }, metricEventsToInfo)
	}
	if out.in == nil {
		return
	}
	if accepted {
		status = 200
	} else {
		status = offerRefusal(status)
	}
	k.answer(*out.in, status, "")
}

// count counts a key; the first of its kind is a step of the call.
func (k *keypads) count(which func(*DTMFRecord) *int, how string) {
	c := k.m.c
	if c.rec.DTMF == nil {
		c.rec.DTMF = &DTMFRecord{}
	}
	n := which(c.rec.DTMF)
	if *n++; *n == 1 {
		c.note("DTMF: %s", how)
	}
	c.b.metrics.dtmf.WithLabelValues(how).Inc()
}

func (k *keypads) lost() {
	k.count(func(r *DTMFRecord) *int { return &r.Lost }, metricKeyLost)
}
