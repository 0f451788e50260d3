package demo

import (
	"context"
	"fmt"
	"time"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/push/apnssim"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

// scene is one thing to show.
type scene struct {
	name      string
	about     string
	phones    int // 0: one
	shortened []string
	configure func(*daemon.Config)
	phone     func(i int, cfg *iphone.Config)
	play      func(ctx context.Context, s *stage) error
}

// scenes are all of them, the default first.
func scenes() []scene {
	return []scene{
		{name: "answer", about: "A PBX calls, a sleeping iPhone wakes and answers, both hear each other.",
			phone: answers(time.Second), play: playAnswer},
		{name: "caller-cancels", about: "The caller gives up while CallKit rings.",
			play: playCallerCancels},
		{name: "decline", about: "The user declines on the call screen.",
			phone: func(_ int, c *iphone.Config) { c.User = iphone.DeclineAfter(600 * time.Millisecond) }, play: playDecline},
		{name: "no-answer", about: "Nobody answers.", shortened: []string{"calls.ring_timeout 4s (50s)", "push.wake_timeout 3s (30s)"},
			configure: shorten(4*time.Second, 3*time.Second), play: playNoAnswer},
		{name: "bad-token", about: "APNs says that the app was deleted: the caller hears it at once.",
			play: playBadToken},
		{name: "apns-down", about: "APNs does not answer at all.", shortened: []string{"calls.ring_timeout 4s (50s)", "push.wake_timeout 3s (30s)"},
			configure: shorten(4*time.Second, 3*time.Second), play: playAPNsDown},
		{name: "two-phones", about: "Two phones wake, one answers, the other stops ringing without a missed call.", phones: 2,
			phone: func(i int, c *iphone.Config) {
				if i == 1 {
					c.User = iphone.AnswerAfter(1200 * time.Millisecond)
				}
			}, play: playTwoPhones},
		{name: "alert-fallback", about: "A phone without CallKit announces no VoIP token: it gets an ordinary notification.",
			phone: func(_ int, c *iphone.Config) { c.OS = 9; c.User = iphone.AnswerAfter(800 * time.Millisecond) }, play: playAlert},
		{name: "late-phone", about: "The phone was offline and wakes after the caller gave up: it learns the call's fate.",
			play: playLatePhone},
	}
}

func answers(after time.Duration) func(int, *iphone.Config) {
	return func(_ int, c *iphone.Config) { c.User = iphone.AnswerAfter(after) }
}

func shorten(ring, wake time.Duration) func(*daemon.Config) {
	return func(c *daemon.Config) { c.Calls.RingTimeout, c.Push.WakeTimeout = ring, wake }
}

// talk lets both sides hear each other for a while and the caller hang up.
func (s *stage) talk(ctx context.Context, out *softphone.Call, h *handset) error {
	id, err := h.callID(ctx)
	if err != nil {
		return err
	}
	if _, err := out.Wait(ctx, softphone.Answered); err != nil {
		return fmt.Errorf("the caller got no answer: %w", err)
	}
	if _, err := h.device.Wait(ctx, 0, iphone.AudioStarted); err != nil {
		return fmt.Errorf("the phone's audio did not start: %w", err)
	}
	in := h.device.Call(id)
	if err := untilHeard(ctx, out, in); err != nil {
		s.report.check("both sides hear something", false, "%v", err)
	}
	now := time.Now()
	s.ladder.stream(now, lanePBX, laneBridge, fmt.Sprint("RTP ", out.Audio().Codec))
	s.ladder.stream(now, laneBridge, h.lane, fmt.Sprint("RTP ", in.Audio().Codec))
	if err := out.Hangup(); err != nil {
		return err
	}
	reason, err := h.ended(ctx)
	if err != nil {
		return err
	}
	s.report.heard("the caller", out.Audio(), iphoneTone)
	s.report.heard("the iPhone", in.Audio(), pbxTone)
	s.report.check("the phone's call ends when the caller hangs up", reason == iphone.RemoteEnded, "%s", reason)
	return nil
}

// untilHeard waits until each side got a second of sound, and a little more.
func untilHeard(ctx context.Context, calls ...*softphone.Call) error {
	for _, c := range calls {
		for c.Audio().Received < 60 {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%d packets came: %w", c.Audio().Received, ctx.Err())
			}
		}
	}
	return nil
}

// result waits for the record of the scene's call and checks how it ended.
func (s *stage) result(ctx context.Context, want bridge.Result, status int) (bridge.Record, error) {
	rec, err := s.record(ctx, 0)
	if err != nil {
		return rec, err
	}
	s.report.times(rec)
	s.report.check(fmt.Sprintf("the call's record says %s (%d)", want, status), rec.Result == want && rec.Status == status,
		"%s, %d: %s", rec.Result, rec.Status, rec.Reason)
	return rec, nil
}

// refused checks what the caller heard.
func (s *stage) refused(ctx context.Context, out *softphone.Call, status int) error {
	e, err := out.Ended(ctx)
	if err != nil {
		return fmt.Errorf("the caller's call does not end: %w", err)
	}
	s.report.check(fmt.Sprintf("the caller hears %d", status), e.Status == status, "%d %s", e.Status, e.Phrase)
	return nil
}

func playAnswer(ctx context.Context, s *stage) error {
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if err := s.talk(ctx, out, s.phones[0]); err != nil {
		return err
	}
	rec, err := s.result(ctx, bridge.Answered, 200)
	if err != nil {
		return err
	}
	pushes := 0
	for _, a := range rec.Attempts {
		pushes += len(a.Pushes)
	}
	s.report.check("one push woke the phone", pushes == 1, "%d", pushes)
	return nil
}

func playCallerCancels(ctx context.Context, s *stage) error {
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if _, err := s.phones[0].device.Wait(ctx, 0, iphone.Ringing); err != nil {
		return fmt.Errorf("the phone did not ring: %w", err)
	}
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	if err := out.Hangup(); err != nil {
		return err
	}
	if err := s.refused(ctx, out, 487); err != nil {
		return err
	}
	reason, err := s.phones[0].ended(ctx)
	if err != nil {
		return err
	}
	s.report.check("the phone stops ringing", reason == iphone.RemoteEnded, "%s", reason)
	_, err = s.result(ctx, bridge.Cancelled, 487)
	return err
}

func playDecline(ctx context.Context, s *stage) error {
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if err := s.refused(ctx, out, 603); err != nil {
		return err
	}
	_, err = s.result(ctx, bridge.Declined, 603)
	return err
}

func playNoAnswer(ctx context.Context, s *stage) error {
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if err := s.refused(ctx, out, 480); err != nil {
		return err
	}
	reason, err := s.phones[0].ended(ctx)
	if err != nil {
		return err
	}
	s.report.check("the phone stops ringing", reason == iphone.RemoteEnded || reason == iphone.Unanswered, "%s", reason)
	_, err = s.result(ctx, bridge.NoAnswer, 480)
	return err
}

func playBadToken(ctx context.Context, s *stage) error {
	h := s.phones[0]
	h.apns.Reinstall(daemon.DevBundle) // the app was deleted: its old tokens are dead
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if err := s.refused(ctx, out, 480); err != nil {
		return err
	}
	rec, err := s.result(ctx, bridge.Unreachable, 480)
	if err != nil {
		return err
	}
	took := rec.Ended.Sub(rec.Started)
	s.report.check("the caller hears it within a second", took < time.Second, "%s", took.Round(time.Millisecond))
	again, err := s.call(ctx)
	if err != nil {
		return err
	}
	if err := s.refused(ctx, again, 480); err != nil {
		return err
	}
	rec, err = s.record(ctx, 1)
	if err != nil {
		return err
	}
	pushes := 0
	for _, a := range rec.Attempts {
		pushes += len(a.Pushes)
	}
	s.report.check("the dead token is not pushed again", pushes == 0, "%d pushes; %s", pushes, rec.Reason)
	return nil
}

func playAPNsDown(ctx context.Context, s *stage) error {
	for _, f := range []apnssim.Fault{apnssim.Blackhole, apnssim.RefuseTLS} {
		if _, err := s.dev.APNs.AddFault(apnssim.Rule{Action: apnssim.Action{Fault: f}}); err != nil {
			return err
		}
	}
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if err := s.refused(ctx, out, 480); err != nil {
		return err
	}
	_, err = s.result(ctx, bridge.Unreachable, 480)
	return err
}

func playTwoPhones(ctx context.Context, s *stage) error {
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if err := s.talk(ctx, out, s.phones[1]); err != nil {
		return err
	}
	reason, err := s.phones[0].ended(ctx)
	if err != nil {
		return err
	}
	s.report.check("the other phone shows no missed call", reason == iphone.AnsweredElsewhere, "%s", reason)
	_, err = s.result(ctx, bridge.Answered, 200)
	return err
}

func playAlert(ctx context.Context, s *stage) error {
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if _, err := s.phones[0].device.Wait(ctx, 0, iphone.Notified); err != nil {
		return fmt.Errorf("no notification was shown: %w", err)
	}
	if err := s.talk(ctx, out, s.phones[0]); err != nil {
		return err
	}
	rec, err := s.result(ctx, bridge.Answered, 200)
	if err != nil {
		return err
	}
	kind := "none"
	if len(rec.Attempts) > 0 && len(rec.Attempts[0].Pushes) > 0 {
		kind = rec.Attempts[0].Pushes[0].Kind
	}
	s.report.check("the push is an ordinary one", kind == "alert", "%s", kind)
	return nil
}

func playLatePhone(ctx context.Context, s *stage) error {
	h := s.phones[0]
	h.apns.Online(false)
	out, err := s.call(ctx)
	if err != nil {
		return err
	}
	if _, err := out.Wait(ctx, softphone.Ringing); err != nil {
		return fmt.Errorf("the caller hears no ringing: %w", err)
	}
	if err := pause(ctx, 700*time.Millisecond); err != nil {
		return err
	}
	if err := out.Hangup(); err != nil {
		return err
	}
	if err := s.refused(ctx, out, 487); err != nil {
		return err
	}
	if _, err := s.result(ctx, bridge.Cancelled, 487); err != nil {
		return err
	}
	h.apns.Online(true)
	reason, err := h.ended(ctx)
	if err != nil {
		return err
	}
	told, err := h.device.Wait(ctx, 0, iphone.FateTold)
	if err != nil {
		told.Text = err.Error()
	}
	s.report.check("the phone learns the fate from the 200 to its REGISTER", err == nil, "%s", told.Text)
	s.report.check("the phone's call ends as the caller's wish", reason == iphone.RemoteEnded, "%s", reason)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
