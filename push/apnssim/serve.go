package apnssim

import (
	"encoding/json"
	"time"

	"golang.org/x/net/http2"
)

// serve judges a complete request, lets the faults interfere, answers and
// delivers. It runs in the connection's read loop and does not block.
func (s *Sim) serve(st *stream) {
	c := st.conn
	p := newPush(&st.req, s.cfg.Now())
	verdict := (&judge{registry: s.registry, team: &c.peer.team, certificate: c.peer.certificate}).rule(p)
	accepted := verdict.Status == 200
	wait, act := s.faults.pick(p, accepted)
	seq := s.journal.begin(Entry{
		ReceivedAt:  st.req.received,
		Environment: c.env,
		Conn:        c.id,
		Stream:      st.id,
		Method:      st.req.method,
		Path:        st.req.path,
		Header:      st.req.header,
		Payload:     st.req.body,
		Provider:    p.provider,
		APNsID:      p.apnsID,
		Fault:       faultName(wait, act),
	})
	end := func() { s.conclude(st, p, seq, verdict, act) }
	if wait > 0 {
		s.later(wait, end)
		return
	}
	end()
}

func faultName(wait time.Duration, act *Action) Fault {
	switch {
	case act != nil:
		return act.Fault
	case wait > 0:
		return Delay
	}
	return ""
}

// conclude carries out what serve decided.
func (s *Sim) conclude(st *stream, p *push, seq uint64, v Verdict, act *Action) {
	defer s.journal.concluded(seq)
	c := st.conn
	if act != nil && act.Fault == GoAway {
		last := c.goAway(goodbye{last: act.lastStream(st.id), code: act.Code, debug: reasonJSON(act.Reason), grace: act.Grace})
		if last >= st.id && c.process(st) {
			s.finish(st, p, seq, v)
		}
		return
	}
	if !c.process(st) {
		return // the client knows by GOAWAY that nothing comes of it
	}
	if act == nil {
		s.finish(st, p, seq, v)
		return
	}
	if act.Deliver && act.Fault != Respond && v.Status == 200 {
		s.deliver(p, seq)
	}
	switch act.Fault {
	case Respond:
		v = Verdict{Status: act.Status, Reason: act.Reason}
		if v.Status == 410 {
			if v.Timestamp = act.Timestamp; v.Timestamp.IsZero() {
				v.Timestamp = s.cfg.Now()
			}
		}
		s.finish(st, p, seq, v)
	case Reset:
		code := act.Code
		if code == http2.ErrCodeNo {
			code = http2.ErrCodeInternal
		}
		st.reset(code)
	case Cut:
		s.journal.ruled(seq, v)
		st.cut(p.reply(v))
	case Blackhole:
		c.out.mute()
	case Hang: // the stream stays as it is
	}
}

// finish delivers a push that was accepted, and answers. A push whose sender
// gave up meanwhile is delivered all the same, as it is out of his hands. The
// journal is written first: who has the answer or the push finds it there.
func (s *Sim) finish(st *stream, p *push, seq uint64, v Verdict) {
	limit := uint32(0)
	switch {
	case v.Status == 200:
		limit = s.cfg.Limits.StreamsAfter
	case s.cfg.StrictThrottle:
		limit = s.cfg.Limits.StreamsBefore
	}
	s.journal.ruled(seq, v)
	s.stats.ruled(v)
	if v.Status == 200 {
		s.deliver(p, seq)
	}
	st.answer(p.reply(v), limit, func() { s.journal.answered(seq, s.cfg.Now()) })
	s.cfg.Log.Info("push", "environment", string(p.req.env), "conn", st.conn.id, "apns_id", p.apnsID,
		"token", mask(p.token.hex), "topic", p.topic, "status", v.Status, "reason", v.Reason)
}

// reasonJSON is GOAWAY's debug data.
func reasonJSON(reason string) []byte {
	b, err := json.Marshal(map[string]string{"reason": reason})
	if err != nil { // a string map always encodes
		return nil
	}
	return b
}

// reply is the response to a push: the apns-id always, a body with everything
// but 200.
func (p *push) reply(v Verdict) reply {
	r := reply{status: v.Status, header: []Field{{"apns-id", p.apnsID}}}
	if v.Status == 200 {
		if p.req.env == Sandbox {
			r.header = append(r.header, Field{"apns-unique-id", newUniqueID()})
		}
		return r
	}
	body := struct {
		Reason    string `json:"reason"`
		Timestamp int64  `json:"timestamp,omitempty"`
	}{Reason: v.Reason}
	if !v.Timestamp.IsZero() {
		body.Timestamp = v.Timestamp.UnixMilli()
	}
	b, err := json.Marshal(body)
	if err != nil { // a string and a number always encode
		return r
	}
	r.header = append(r.header, Field{"content-type", "application/json"})
	r.body = b
	return r
}
