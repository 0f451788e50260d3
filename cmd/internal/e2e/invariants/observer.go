// Package invariants watches a whole run of a server and its simulators, and says
// afterwards which of the promises were broken that DESIGN s5 ("Always: ...") makes
// to callers, phones and the push service.
//
// An Observer gets the server's SIP messages (daemon.Options.Tap) and records
// (Recorded), the journals of the simulated APNs and FCM and the timelines of the simulated
// iPhones. It only listens; Check judges when all calls of the run are over. What
// the server holds (calls, ports, dialogs, goroutines) is for whoever runs it to
// look at.
package invariants

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/push/apnssim"
	"wakebridge/push/fcm/fcmsim"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/softphone"
)

// Limits are the times that the promises name. Real time needs more slack than
// virtual time, in which nothing is late.
type Limits struct {
	// Ring is calls.ring_timeout: the caller has his final response within it and
	// Final.
	Ring time.Duration
	// Final is how much later than Ring a final response may come. Default: 2s.
	Final time.Duration
	// Invite is how long after its REGISTER a woken device gets its INVITE, at
	// most. Default: 200ms.
	Invite time.Duration
	// Wire is how long a push that left in time may be under way to APNs. Default:
	// 100ms.
	Wire time.Duration
	// Hedge is how long a push may be without answer before it comes to APNs a second
	// time. Default: 1.6s.
	Hedge time.Duration
	// Screen is how long a call may stay on the screen of a phone that is online,
	// after it ended, or after it registered again. Default: 3s.
	Screen time.Duration
	// Audio is how long after its audio began a phone hears the caller, and is heard
	// by him. Default: 1s.
	Audio time.Duration
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		v    *time.Duration
		that time.Duration
	}{{&l.Final, 2 * time.Second}, {&l.Invite, 200 * time.Millisecond}, {&l.Wire, 100 * time.Millisecond}, {&l.Hedge, 1600 * time.Millisecond}, {&l.Screen, 3 * time.Second}, {&l.Audio, time.Second}} {
		if *d.v <= 0 {
			*d.v = d.that
		}
	}
	return l
}

// Observer collects what happened. Its methods may be called from any goroutine.
type Observer struct {
	limits Limits

	mu        sync.Mutex
	seq       int // of messages
	invites   map[string]*invite
	order     []*invite
	answers   []answer
	announced map[string][]time.Time // REGISTERs that were answered 200, by the device token that they announced
	pending   map[string][]string    // tokens of REGISTERs without an answer, by transaction
	tests     map[string]bool        // UUIDs of pushes that an operator's test sent
	fates     map[string]bool        // UUIDs of calls whose fate was told to a device
	ends      map[string][]time.Time // CANCELs and BYEs to devices, by the UUID of their call
	records   []bridge.Record
	away      []span // when no server ran
	placed    []*softphone.Call
	google    []fcmsim.Request // the journal of the simulated FCM
}

// span is a time from one moment to another.
type span struct{ from, to time.Time }

// meets says that the two have a moment in common.
func (s span) meets(o span) bool { return !s.to.Before(o.from) && !o.to.Before(s.from) }

// invite is an INVITE that came from a peer, with what it was answered.
type invite struct {
	callID string
	flow   *sipua.Flow
	at     time.Time
	inside bool // a dialog that exists
	finals []final
	after  []int // provisional responses behind the final one
}

type final struct {
	status int
	toTag  string
	at     time.Time
	seq    int
}

// answer is a 2xx to an INVITE of ours.
type answer struct {
	callID string
	trunk  bool
	seq    int
}

// New makes an Observer.
func New(limits Limits) *Observer {
	return &Observer{limits: limits.withDefaults(), invites: make(map[string]*invite), announced: make(map[string][]time.Time), pending: make(map[string][]string), tests: make(map[string]bool),
		fates: make(map[string]bool), ends: make(map[string][]time.Time)}
}

// Tests notes the UUID of a push that an operator's test sends: it belongs to no call.
func (o *Observer) Tests(uuid string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tests[uuidOf(uuid)] = true
}

// Saw takes a message of the server. It is made for sipua.Config.Tap, and keeps
// nothing of the message.
func (o *Observer) Saw(t sipua.Traffic) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	switch m := t.Message.(type) {
	case *sip.Request:
		if !t.Sent {
			o.request(t, m)
		} else if m.Method == sip.CANCEL || m.Method == sip.BYE {
			id, _, _ := strings.Cut(sipua.Value(m, "Call-ID"), "@")
			o.ends[uuidOf(id)] = append(o.ends[uuidOf(id)], t.At)
		}
	case *sip.Response:
		o.response(t, m)
	}
}

// Restarted says that the server was ended and started again: it knows no transaction
// from before, so that what a peer repeats is new to it, and it heard nothing that was
// said to it since it began to stop.
func (o *Observer) Restarted(stopping time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = append(o.away, span{stopping, time.Now()})
	clear(o.invites)
	clear(o.pending)
}

// transaction names one: a peer's branch is its own, and a retransmission has the
// same.
func transaction(f *sipua.Flow, msg sip.Message) string {
	via, cseq, callID := headers(msg)
	return fmt.Sprint(f.Remote().Addr(), " ", via, " ", cseq, " ", callID)
}

func headers(msg sip.Message) (branch string, cseq uint32, callID string) {
	var via *sip.ViaHeader
	switch m := msg.(type) {
	case *sip.Request:
		via = m.Via()
	case *sip.Response:
		via = m.Via()
	}
	if via != nil {
		branch, _ = via.Params.Get("branch")
	}
	if c := sipua.Value(msg, "CSeq"); c != "" {
		if _, err := fmt.Sscan(c, &cseq); err != nil {
			cseq = 0 // a message that is garbage has none
		}
	}
	return branch, cseq, sipua.Value(msg, "Call-ID")
}

// proper says that a request names one transaction: of garbage nobody can tell
// which response is its own.
func proper(req *sip.Request) bool {
	for _, name := range []string{"Call-ID", "CSeq", "From", "To"} {
		if len(sipua.Values(req, name)) != 1 {
			return false
		}
	}
	return req.To() != nil
}

func (o *Observer) request(t sipua.Traffic, req *sip.Request) {
	key := transaction(t.Flow, req)
	switch req.Method {
	case sip.INVITE:
		if o.invites[key] != nil || !proper(req) {
			return
		}
		in := &invite{callID: sipua.Value(req, "Call-ID"), flow: t.Flow, at: t.At, inside: sipua.Tag(req.To().Params) != ""}
		o.invites[key] = in
		o.order = append(o.order, in)
	case sip.REGISTER:
		o.pending[key] = tokensOf(req)
	}
}

func (o *Observer) response(t sipua.Traffic, res *sip.Response) {
	method := ""
	if c := res.CSeq(); c != nil {
		method = string(c.MethodName)
	}
	switch {
	case t.Sent && method == "REGISTER":
		key := transaction(t.Flow, res)
		if res.StatusCode == 200 {
			for _, token := range o.pending[key] {
				o.announced[token] = append(o.announced[token], t.At)
			}
			for _, fate := range sipua.Values(res, header.NameCallEnded) {
				id, _, _ := strings.Cut(fate, ";")
				o.fates[uuidOf(id)] = true
			}
		}
		delete(o.pending, key)
	case method != "INVITE":
	case t.Sent:
		o.answered(t, res)
	case res.StatusCode/100 == 2:
		o.answers = append(o.answers, answer{sipua.Value(res, "Call-ID"), strings.HasPrefix(t.Flow.Party(), "trunk "), o.seq})
	}
}

// answered notes what the server says to an INVITE; a retransmission is said once.
func (o *Observer) answered(t sipua.Traffic, res *sip.Response) {
	in := o.invites[transaction(t.Flow, res)]
	if in == nil {
		return
	}
	if res.StatusCode < 200 {
		if len(in.finals) > 0 {
			in.after = append(in.after, res.StatusCode)
		}
		return
	}
	f := final{status: res.StatusCode, at: t.At, seq: o.seq}
	if to := res.To(); to != nil {
		f.toTag = sipua.Tag(to.Params)
	}
	same := func(g final) bool { return g.status == f.status && g.toTag == f.toTag }
	if !slices.ContainsFunc(in.finals, same) {
		in.finals = append(in.finals, f)
	}
}

// tokensOf lists the device tokens in a Contact's pn-prid, in small letters.
func tokensOf(req *sip.Request) []string {
	var out []string
	for _, c := range sipua.Values(req, "Contact") {
		_, prid, found := strings.Cut(c, "pn-prid=")
		if !found {
			continue
		}
		prid, _, _ = strings.Cut(prid, ">")
		prid, _, _ = strings.Cut(prid, ";")
		for token := range strings.SplitSeq(strings.ReplaceAll(prid, "%3A", ":"), "&") {
			token, _, _ = strings.Cut(token, ":")
			out = append(out, strings.ToLower(token))
		}
	}
	return out
}

// Recorded takes the record of a call. It is made for daemon.Options.Recorded.
func (o *Observer) Recorded(r bridge.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.records = append(o.records, r)
}

// Records are those that came so far.
func (o *Observer) Records() []bridge.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.records)
}

// Placed takes a call that a simulated caller placed, for what he hears of it: it is
// asked by Check.
func (o *Observer) Placed(c *softphone.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.placed = append(o.placed, c)
}

// Google takes the journal of a simulated FCM, before Check, which judges it as that of
// the APNs.
func (o *Observer) Google(journal []fcmsim.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.google = append(o.google, journal...)
}

// Check says what was broken; none is what a run should have. All calls must be
// over, and the times of journal and phones be those of the server's clock. The
// journal must not have lost entries.
func (o *Observer) Check(journal []apnssim.Entry, phones ...Phone) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := verdict{Observer: o, calls: make(map[string]*bridge.Record), byUUID: make(map[string]*bridge.Record), refused: make(map[string]bool)}
	for i := range o.records {
		v.index(&o.records[i])
	}
	v.callers()
	v.attempts()
	v.pushes(journal)
	v.silences(journal)
	v.unreached()
	v.deadTokens(journal)
	v.messages()
	heard := v.callerSides(phones)
	for _, p := range phones {
		v.phone(p)
		v.sound(p, heard)
	}
	return v.broken
}

// verdict is a Check under way.
type verdict struct {
	*Observer
	calls   map[string]*bridge.Record // by the caller's Call-ID
	byUUID  map[string]*bridge.Record
	refused map[string]bool // UUIDs whose device was woken although the server only heard refusals
	broken  []string
}

func (v *verdict) breaks(format string, args ...any) {
	v.broken = append(v.broken, fmt.Sprintf(format, args...))
}

// index finds records by what others name them, and doubles among them: one record
// per call, one UUID per call and device, and no UUID twice.
func (v *verdict) index(r *bridge.Record) {
	if v.calls[r.CallID] != nil && v.calls[r.CallID].ID == r.ID {
		v.breaks("call %s has two records", r.CallID)
	}
	v.calls[r.CallID] = r
	devices := make(map[string]string)
	for _, a := range r.Attempts {
		if a.UUID == "" {
			continue
		}
		id := uuidOf(a.UUID)
		if other := v.byUUID[id]; other != nil && other.ID != r.ID {
			v.breaks("UUID %s belongs to calls %s and %s", id, other.ID, r.ID)
		}
		v.byUUID[id] = r
		if other, ok := devices[a.Device]; ok && other != id {
			v.breaks("call %s has two UUIDs for device %s: %s and %s", r.ID, a.Device, other, id)
		}
		devices[a.Device] = id
	}
}

// uuidOf is a call's UUID as we compare it; text that is none stays as it is.
func uuidOf(s string) string {
	id, err := header.ParseCallUUID(s)
	if err != nil {
		return s
	}
	return id.String()
}
