package softphone

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/sipua"
	"wakebridge/sipua/leg"
)

// Call is one call of a phone.
type Call struct {
	phone    *Phone
	incoming bool
	invite   *sip.Request // incoming
	target   sip.Uri      // outgoing
	callID   string
	started  time.Time

	// The loop's.
	leg     *leg.Leg
	media   *media
	failure *leg.Failed
	asked   *question // a re-INVITE of ours under way
	answer  bool      // there was a 2xx
	keypad

	mu      sync.Mutex
	events  []Event
	changed chan struct{} // closed and replaced with each event
	over    chan struct{} // closed with Ended
}

func (p *Phone) newCall(incoming bool) *Call {
	return &Call{phone: p, incoming: incoming, started: time.Now(), changed: make(chan struct{}), over: make(chan struct{})}
}

// Incoming says that the peer called.
func (c *Call) Incoming() bool { return c.incoming }

// Started is when the INVITE was sent, or came.
func (c *Call) Started() time.Time { return c.started }

// CallID is the Call-ID.
func (c *Call) CallID() string { return c.callID }

// Invite is the INVITE of an incoming call, nil of an outgoing one. It must not be
// changed.
func (c *Call) Invite() *sip.Request { return c.invite }

// Ring sends 180.
func (c *Call) Ring(headers ...sip.Header) error {
	return c.do("ring", func() error { return c.leg.Ring(headers...) })
}

// Answer sends 200 with our answer to the offer. Errors: ErrMedia, after which the
// call still waits; those of the leg; those of Config.Media.
func (c *Call) Answer(headers ...sip.Header) error {
	return c.do("answer", func() error {
		if c.media == nil {
			if err := c.openMedia(c.leg.Flow()); err != nil {
				return err
			}
		}
		var body []byte
		var err error
		if offer := c.invite.Body(); len(offer) > 0 {
			body, err = c.media.accept(offer)
		} else {
			body, err = c.media.offer(sendrecv)
		}
		if err != nil {
			return err
		}
		if err := c.leg.Answer(body, headers...); err != nil {
			return err
		}
		c.answered(Event{Kind: Answered, Status: 200})
		return nil
	})
}

// answered notes the 2xx and lets the audio begin.
func (c *Call) answered(e Event) {
	c.answer = true
	if !c.phone.cfg.Audio.Manual {
		c.media.start()
	}
	c.add(e)
}

// Reject refuses the call, with 300 to 699; phrase "" is the standard one.
func (c *Call) Reject(status int, phrase string, headers ...sip.Header) error {
	return c.do("reject", func() error { return c.leg.Reject(status, phrase, headers...) })
}

// Decline is what a user does who does not want the call: 603.
func (c *Call) Decline() error { return c.Reject(603, "") }

// Busy refuses with 486.
func (c *Call) Busy() error { return c.Reject(486, "") }

// Hangup ends the call in the way that fits: CANCEL, 603 or BYE. reasons become
// Reason header fields of a CANCEL or BYE. Ended tells when it is over.
func (c *Call) Hangup(reasons ...string) error {
	return c.do("hang up", func() error {
		switch {
		case c.answer:
			return c.leg.Bye(reasons...)
		case c.incoming:
			return c.leg.Reject(603, "")
		default:
			return c.leg.Cancel(reasons...)
		}
	})
}

// Hold asks the peer by re-INVITE to send nothing more, and sends nothing itself;
// it waits for the answer. Errors: ErrRefused, those of the leg, ctx's.
func (c *Call) Hold(ctx context.Context) error { return c.reinvite(ctx, true) }

// Rekey changes our SRTP keys by re-INVITE. Errors as Hold.
func (c *Call) Rekey(ctx context.Context) error {
	err := c.do("re-key", func() error {
		if c.media == nil {
			return leg.ErrState
		}
		c.media.crypto.rekey()
		return nil
	})
	if err != nil {
		return err
	}
	return c.Resume(ctx)
}

// Resume takes Hold back.
func (c *Call) Resume(ctx context.Context) error { return c.reinvite(ctx, false) }

func (c *Call) reinvite(ctx context.Context, hold bool) error {
	asked := make(chan error, 1)
	err := c.do("re-INVITE", func() error {
		if c.media == nil {
			return leg.ErrState
		}
		m := c.media
		before := m.stance
		m.holding = hold
		offer, err := m.offer(m.wish())
		if err == nil {
			err = c.leg.Reinvite(offer)
		}
		if err != nil {
			m.stand(before)
			return err
		}
		c.asked = &question{before: before, answered: asked}
		m.route()
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case err := <-asked:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-c.over:
		return ErrCallEnded
	case <-c.phone.ctx.Done():
		return ErrClosed
	}
}

// question is a re-INVITE of ours.
type question struct {
	before   stance
	answered chan error
}

// reinvited takes the answer to a re-INVITE of ours; a refused one leaves all as it
// was.
func (c *Call) reinvited(e leg.OfferAnswered) {
	q := c.asked
	c.asked = nil
	if q == nil {
		return
	}
	err := fmt.Errorf("re-INVITE: %d %s: %w", e.Status, e.Phrase, ErrRefused)
	if e.Status >= 200 && e.Status < 300 {
		err = c.media.settle(e.Body)
	}
	if err != nil {
		c.media.stand(q.before)
	}
	q.answered <- err
}

// StartAudio lets the phone send (Config.Audio.Manual).
func (c *Call) StartAudio() error {
	return c.do("start audio", func() error {
		if c.media == nil {
			return leg.ErrState
		}
		c.media.start()
		return nil
	})
}

// StopAudio pauses what StartAudio started.
func (c *Call) StopAudio() error {
	return c.do("stop audio", func() error {
		if c.media == nil {
			return leg.ErrState
		}
		c.media.active = false
		c.media.route()
		return nil
	})
}

// Mute sends silence, or the sound again.
func (c *Call) Mute(on bool) {
	if m := c.mediaNow(); m != nil {
		m.muted.Store(on)
	}
}

func (c *Call) mediaNow() *media {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.media
}

// Flow is the flow that the call uses now.
func (c *Call) Flow() *sipua.Flow { return c.leg.Flow() }

func (c *Call) do(verb string, f func() error) error {
	if err := c.phone.loop.do(f); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// Events is what happened so far, in order.
func (c *Call) Events() []Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Event(nil), c.events...)
}

// Wait waits for the first event of one of these kinds, which may have been. When
// the call ends without it, the Ended event comes with ErrCallEnded. Other errors:
// ErrClosed, ctx's.
func (c *Call) Wait(ctx context.Context, kinds ...Kind) (Event, error) {
	for {
		c.mu.Lock()
		events, changed := c.events, c.changed
		c.mu.Unlock()
		for _, e := range events {
			for _, k := range kinds {
				if e.Kind == k {
					return e, nil
				}
			}
			if e.Kind == Ended {
				return e, fmt.Errorf("%d %s: %w", e.Status, e.Phrase, ErrCallEnded)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-c.phone.ctx.Done():
			return Event{}, ErrClosed
		}
	}
}

// Ended waits for the end.
func (c *Call) Ended(ctx context.Context) (Event, error) { return c.Wait(ctx, Ended) }

// add notes an event, on the loop.
func (c *Call) add(e Event) {
	e.At = time.Now()
	c.mu.Lock()
	c.events = append(c.events, e)
	close(c.changed)
	c.changed = make(chan struct{})
	if e.Kind == Ended {
		close(c.over)
	}
	c.mu.Unlock()
	if c.phone.cfg.Observe != nil {
		c.phone.cfg.Observe(c, e)
	}
}

// handle takes an event of the leg, on the loop.
func (c *Call) handle(e leg.Event) {
	switch e := e.(type) {
	case leg.Provisional:
		c.provisional(e)
	case leg.Answered:
		if e.AfterCancel {
			return
		}
		if err := c.media.settle(e.Body); err != nil {
			c.phone.cfg.Log.Warn("answer of the callee", "error", err)
			c.hangUp("SIP;cause=488")
			return
		}
		c.answered(Event{Kind: Answered, Status: e.Response.StatusCode, Phrase: e.Response.Reason, Response: e.Response})
	case leg.Failed:
		c.failure = &e
	case leg.Confirmed:
		c.confirmed(e)
	case leg.Offer:
		c.offered(e)
	case leg.OfferAnswered:
		c.reinvited(e)
	case leg.Info:
		if err := c.gotInfo(e); err != nil {
			c.phone.cfg.Log.Warn("answer INFO", "error", err)
		}
	case leg.InfoAnswered:
		c.told(e)
	case leg.FlowLost:
		c.add(Event{Kind: FlowLost, Err: e.Err})
	case leg.Ended:
		c.finish(e)
	}
}

func (c *Call) provisional(e leg.Provisional) {
	kind := Progress
	switch e.Status {
	case 100:
		kind = Trying
	case 180:
		kind = Ringing
	}
	if len(e.Body) > 0 { // early media: the phone listens, and says nothing yet
		if err := c.media.settle(e.Body); err != nil {
			c.phone.cfg.Log.Warn("early media", "error", err)
		}
	}
	c.add(Event{Kind: kind, Status: e.Status, Phrase: e.Phrase, Response: e.Response})
}

func (c *Call) confirmed(e leg.Confirmed) {
	if len(e.Body) > 0 { // our 2xx had the offer
		if err := c.media.settle(e.Body); err != nil {
			c.phone.cfg.Log.Warn("answer in the ACK", "error", err)
			c.hangUp("SIP;cause=488")
			return
		}
	}
	if !e.Reinvite {
		c.add(Event{Kind: Confirmed})
	}
}

// offered answers a re-INVITE: the phone agrees to what it can.
func (c *Call) offered(e leg.Offer) {
	was := c.media.peerHolds()
	var body []byte
	var err error
	if len(e.Body) > 0 {
		body, err = c.media.accept(e.Body)
	} else {
		body, err = c.media.offer(c.media.wish())
	}
	if err != nil {
		c.phone.cfg.Log.Info("re-INVITE refused", "error", err)
		err = c.leg.RejectOffer(sipua.Status(err), "")
	} else {
		err = c.leg.AnswerOffer(body)
	}
	if err != nil {
		c.phone.cfg.Log.Warn("answer re-INVITE", "error", err)
		return
	}
	switch now := c.media.peerHolds(); {
	case now && !was:
		c.add(Event{Kind: Held})
	case was && !now:
		c.add(Event{Kind: Resumed})
	}
}

func (c *Call) hangUp(reason string) {
	if err := c.leg.Bye(reason); err != nil {
		c.phone.cfg.Log.Debug("hang up", "error", err)
	}
}

func (c *Call) finish(e leg.Ended) {
	if c.media != nil {
		c.media.close()
	}
	event := Event{Kind: Ended, Cause: e.Cause, ByRemote: e.ByRemote, Reasons: e.Reasons}
	if f := c.failure; f != nil {
		event.Status, event.Phrase, event.Response, event.Err = f.Status, f.Phrase, f.Response, f.Err
	}
	c.add(event)
}
