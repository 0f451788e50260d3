package registration

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/digest"
	"wakebridge/sipua/header"
)

// register sends a REGISTER as often as challenges and 423 want it, and returns
// the response that ends it.
func (r *Registration) register() (*sip.Response, error) {
	f, err := r.cfg.Flow(r.ctx)
	if err != nil {
		return nil, fmt.Errorf("flow to the registrar: %w", err)
	}
	contact := r.cfg.Contact(f)
	r.flow, r.bound = f, &contact
	raised := 0
	a := r.newAnswerer()
	for {
		res, err := r.send(r.request(contact, r.expires, a.headers))
		if err != nil || res.IsSuccess() {
			return res, err
		}
		if res.StatusCode == sip.StatusIntervalToBrief {
			least := seconds(sipua.Value(res, "Min-Expires"))
			if raised++; least <= r.expires || raised > 2 {
				return res, ErrBrief
			}
			r.expires = least
			continue
		}
		more, err := a.answer(res)
		if !more {
			return res, err
		}
	}
}

// remove sends the REGISTER that takes the Contact away (RFC 3261 s10.2.2). It
// needs the flow to be open still: a new one would have another Contact.
func (r *Registration) remove() error {
	if r.flow == nil || r.bound == nil {
		return fmt.Errorf("un-REGISTER: %w", sipua.ErrFlowGone)
	}
	a := r.newAnswerer()
	for {
		res, err := r.send(r.request(*r.bound, 0, a.headers))
		if err != nil {
			return fmt.Errorf("un-REGISTER: %w", err)
		}
		if res.IsSuccess() {
			return nil
		}
		more, err := a.answer(res)
		if err != nil {
			return fmt.Errorf("un-REGISTER: %w", err)
		}
		if !more {
			return fmt.Errorf("un-REGISTER: %w", sipua.Reject(res.StatusCode, res.Reason))
		}
	}
}

// answerer answers the challenges of one REGISTER.
type answerer struct {
	client  *digest.Client
	attempt *digest.Attempt
	uri     string
	headers []sip.Header // for the next try
}

func (r *Registration) newAnswerer() *answerer {
	a := &answerer{client: r.cfg.Credentials, uri: r.cfg.Registrar.String()}
	if a.client != nil {
		a.attempt = a.client.Attempt()
		a.headers = a.client.Authorize(string(sip.REGISTER), a.uri)
	}
	return a
}

// answer prepares the answer to a challenge; more is false if res is none, or it
// cannot be answered, which err says.
func (a *answerer) answer(res *sip.Response) (more bool, err error) {
	challenges, ok := digest.ChallengesOf(res)
	if !ok || a.client == nil {
		return false, nil
	}
	a.headers, err = a.attempt.Answer(challenges, string(sip.REGISTER), a.uri)
	if err != nil {
		return false, fmt.Errorf("challenge of the registrar: %w", err)
	}
	return true, nil
}

// request makes a REGISTER: one Call-ID for all of them, CSeq one higher each time
// (RFC 3261 s10.2).
func (r *Registration) request(contact sip.ContactHeader, expires time.Duration, credentials []sip.Header) *sip.Request {
	r.seq++
	req := sip.NewRequest(sip.REGISTER, *r.cfg.Registrar.Clone())
	req.AppendHeader(&sip.FromHeader{Address: *r.cfg.AOR.URI(), Params: sip.HeaderParams{{K: "tag", V: r.tag}}})
	req.AppendHeader(&sip.ToHeader{Address: *r.cfg.AOR.URI()})
	id := sip.CallIDHeader(r.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: r.seq, MethodName: sip.REGISTER})
	req.AppendHeader(contact.Clone())
	req.AppendHeader(sip.NewHeader("Expires", header.FormatSeconds(expires)))
	for _, h := range r.cfg.Headers {
		req.AppendHeader(sip.HeaderClone(h))
	}
	digest.Apply(req, credentials)
	return req
}

// send sends req on the flow and waits for what ends its transaction. It gives up
// early on Close, and on Unregister unless req is the un-REGISTER itself.
func (r *Registration) send(req *sip.Request) (*sip.Response, error) {
	type outcome struct {
		res *sip.Response
		err error
	}
	ended := make(chan outcome, 1)
	tx, err := r.cfg.Endpoint.Request(r.flow, req, func(res *sip.Response, err error) {
		if err == nil && res.IsProvisional() {
			return
		}
		select {
		case ended <- outcome{res, err}:
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	leaving := r.leaving
	if r.isLeaving() {
		leaving = nil
	}
	select {
	case o := <-ended:
		return o.res, o.err
	case <-r.ctx.Done():
	case <-leaving:
	}
	tx.Terminate()
	return nil, ErrEnded
}

// read fills in what a 2xx says besides. A header field that cannot be read is as
// good as none, and told to the log.
func (r *Registration) read(e *Registered) {
	var err error
	if e.FeatureCaps, err = header.ParseFeatureCaps(sipua.Values(e.Response, header.NameFeatureCaps)...); err != nil {
		r.cfg.Log.Info("response to REGISTER", "error", err)
	}
	if e.CallEnded, err = header.ParseCallEnded(sipua.Values(e.Response, header.NameCallEnded)...); err != nil {
		r.cfg.Log.Info("response to REGISTER", "error", err)
	}
}

func contactsOf(res *sip.Response) []sip.ContactHeader {
	var out []sip.ContactHeader
	for _, h := range res.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok {
			out = append(out, *c)
		}
	}
	return out
}

// granted is how long a 2xx binds our Contact: by its own expires parameter, else
// the Expires header field, else as asked (RFC 3261 s10.2.4). A registrar that
// rewrites Contacts shows ours under another name; if it shows just one, that is
// it.
func granted(res *sip.Response, own sip.ContactHeader, asked time.Duration) time.Duration {
	expires := sipua.Values(res, "Expires")
	all := contactsOf(res)
	for _, c := range all {
		if d, said := header.Expires(c, expires...); said && (same(c, own) || len(all) == 1) {
			return d
		}
	}
	if len(expires) > 0 {
		return seconds(expires[0])
	}
	return asked
}

// same says that two Contacts are one binding's: by instance and reg-id (RFC 5626
// s5), else by the parts of the URI that tell two clients apart.
func same(a, b sip.ContactHeader) bool {
	ia, errA := header.Instance(a)
	ib, errB := header.Instance(b)
	if errA == nil && errB == nil && ia != "" && ib != "" {
		ra, errA := header.RegID(a)
		rb, errB := header.RegID(b)
		return ia == ib && errA == nil && errB == nil && ra == rb
	}
	return a.Address.User == b.Address.User && strings.EqualFold(a.Address.Host, b.Address.Host) && a.Address.Port == b.Address.Port
}

// hopeless says that the next REGISTER will most likely fail as this one did:
// somebody has to change something first.
func hopeless(status int, err error) bool {
	if errors.Is(err, digest.ErrRefused) || errors.Is(err, digest.ErrUnsupported) || errors.Is(err, digest.ErrOtherRealm) || errors.Is(err, ErrBrief) {
		return true
	}
	switch status {
	case 403, 404, 405, 416, 420, 501, 555, 604:
		return true
	}
	return false
}

func retryAfter(res *sip.Response) time.Duration {
	// It may have a comment and parameters behind the number (RFC 3261 s20.33).
	v := strings.TrimSpace(sipua.Value(res, "Retry-After"))
	if i := strings.IndexFunc(v, func(c rune) bool { return c < '0' || c > '9' }); i >= 0 {
		v = v[:i]
	}
	return seconds(v)
}

// seconds reads delta-seconds; what is none is 0.
func seconds(s string) time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
