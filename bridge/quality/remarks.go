package quality

import (
	"fmt"
	"time"

	"wakebridge/bridge/media"
)

// Fault is what was wrong with a leg's audio, in one word for the metrics.
type Fault string

const (
	faultNothing     Fault = "nothing"     // it sent nothing
	faultRefused     Fault = "refused"     // what it sent was not believed
	faultSilence     Fault = "silence"     // it sent nothing but zeros
	faultLate        Fault = "late"        // it began late
	faultStopped     Fault = "stopped"     // it ended early
	faultAway        Fault = "away"        // it was missing for a while
	faultUnreachable Fault = "unreachable" // nothing could be sent to it
	faultDeaf        Fault = "deaf"        // it says that it heard nothing, or little
)

// Remark is one of those for a person.
type Remark struct {
	App   bool // it is about an app's leg
	Fault Fault
	Text  string // "" if another one says it
}

const (
	// leastDue is how long a leg must have been expected to send before its silence
	// says anything: CallKit activates audio late.
	leastDue = 3 * time.Second
	// late is how long after the answer audio may begin, and away how long it may be
	// missing: codecs with pauses of speech send something every few seconds.
	late = 5 * time.Second
	away = 10 * time.Second
	// leastLooked is how many seconds of digital silence are worth a word: all there was.
	leastLooked = 5
	// leastRefused is how many packets that were not passed on are: a second of them.
	leastRefused = 50
	// leastEmpty is how many reports without a word of us: some 15 s.
	leastEmpty = 3
	// muchMissed is the share of loss that a leg's reports must show.
	muchMissed = 0.1
)

// listening is a leg's audio and what is known of it.
type listening struct {
	*Party
	s    media.StreamStats
	due  media.Due
	i    int
	talk *Party // with whom
}

// remarks say what was wrong with the audio of an answered call. A hold is never
// silence.
func remarks(all []Party, answered, ended time.Time) []Remark {
	i := audioStream(all)
	if answered.IsZero() || len(all) != 2 || i < 0 {
		return nil
	}
	var legs [2]listening
	for j := range all {
		legs[j] = listening{Party: &all[j], s: all[j].Stats[i], due: all[j].Due[i], i: i, talk: &all[1-j]}
	}
	if legs[0].mute(answered) && legs[1].mute(answered) {
		return []Remark{{legs[0].App, faultNothing, "nobody sent anything"}, {legs[1].App, faultNothing, ""}}
	}
	var out []Remark
	for j, l := range legs {
		add := func(f Fault, text string) { out = append(out, Remark{l.App, f, l.who + text}) }
		if l.heardSince(answered) {
			l.talked(answered, ended, add)
		} else if l.due.Total >= leastDue {
			f, text := l.nothing()
			add(f, text)
		}
		l.reached(legs[1-j].s, add)
	}
	return out
}

// audioStream is the first m= line that is audio on both legs, -1 if there is none: one
// that both have, else one that they had.
func audioStream(all []Party) int {
	if len(all) != 2 {
		return -1
	}
	had := -1
	for i, s := range all[0].Streams {
		if s.Media != "audio" || i >= len(all[0].Stats) || i >= len(all[1].Stats) {
			continue
		}
		if s.Active() && i < len(all[1].Streams) && all[1].Streams[i].Active() {
			return i
		}
		if had < 0 {
			had = i
		}
	}
	return had
}

// heardSince says that acceptable audio came after the answer.
func (l listening) heardSince(answered time.Time) bool {
	return l.s.RTP.Packets > 0 && !l.s.Last.Before(answered)
}

// mute says that it sent nothing at all, though it was expected to.
func (l listening) mute(answered time.Time) bool {
	return l.due.Total >= leastDue && !l.heardSince(answered) && !l.refused()
}

// refused says that packets came that were its audio, in all likelihood. A few from
// elsewhere are not: ports are scanned all day.
func (l listening) refused() bool {
	r := l.s.Rejected
	return r[media.PayloadType] > 0 || r[media.BadAuth] > 0 || r[media.WrongSource] >= leastRefused && l.s.Stranger.IsValid()
}

// nothing says why no audio of a leg was accepted.
func (l listening) nothing() (Fault, string) {
	r := l.s.Rejected
	switch {
	case !l.refused() && r[media.BadHeader] > 0:
		return faultNothing, fmt.Sprintf(" sent no audio, but %d packets that are no RTP (STUN?)", r[media.BadHeader])
	case !l.refused() && l.s.RTCP.Packets > 0:
		return faultNothing, " sent nothing but reports (RTCP)"
	case !l.refused():
		return faultNothing, " sent nothing"
	case r[media.PayloadType] > 0:
		return faultRefused, fmt.Sprintf("'s audio was refused: %s was not agreed (%d packets)", l.codecName(l.s.RefusedType), r[media.PayloadType])
	case r[media.BadAuth] > 0:
		return faultRefused, fmt.Sprintf("'s audio was refused: SRTP keys do not match, or it is not encrypted (%d packets)", r[media.BadAuth])
	}
	return faultRefused, fmt.Sprintf("'s audio was refused: it came from %s, which its SDP does not name, but %s (%d packets)", l.s.Stranger, l.s.Named, r[media.WrongSource])
}

// codecName is a payload type for people.
func (l listening) codecName(pt uint8) string {
	if c, ok := codecOf(pt, l.i, l.Streams, l.talk.Streams); ok {
		return fmt.Sprintf("payload type %d (%s)", pt, c.Name)
	}
	return fmt.Sprintf("payload type %d", pt)
}

// talked looks at a leg whose audio came.
func (l listening) talked(answered, ended time.Time, add func(Fault, string)) {
	s := l.s
	if wait := s.FirstAnswered.Sub(answered); wait >= late && l.due.Total >= ended.Sub(answered) {
		add(faultLate, "'s audio began "+about(wait)+" after the answer")
	}
	if s.Gap >= away {
		add(faultAway, fmt.Sprintf("'s audio was missing for %s from %s on", about(s.Gap), s.GapAt.UTC().Format("15:04:05 UTC")))
	}
	if !l.due.Since.IsZero() {
		before := ended.Sub(later(s.Last, l.due.Since))
		switch {
		case before < away:
		case s.Last.Before(l.due.Since):
			add(faultStopped, "'s audio did not come back after the hold, for "+about(before))
		default:
			add(faultStopped, "'s audio stopped "+about(before)+" before the end")
		}
	}
	if s.Sound.Looked >= leastLooked && s.Sound.Silent == s.Sound.Looked {
		add(faultSilence, " sent only silence (its microphone is muted, or its audio was not activated)")
	}
	for _, r := range []struct {
		reason media.Reason
		why    string
	}{
		{media.BadAuth, "SRTP keys do not match, or it is not encrypted"},
		{media.PayloadType, l.codecName(s.RefusedType) + " was not agreed"},
		{media.WrongSource, fmt.Sprintf("it came from %s, the rest from %s", s.Stranger, s.Source)},
	} {
		if n := s.Rejected[r.reason]; n >= leastRefused && n >= s.RTP.Packets/10 {
			add(faultRefused, fmt.Sprintf("'s audio was refused in part: %s (%d packets of %d)", r.why, n, n+s.RTP.Packets))
		}
	}
}

// reached looks at what was sent to a leg, from being what the other one sent.
func (l listening) reached(from media.StreamStats, add func(Fault, string)) {
	s := l.s
	switch {
	case s.Sent.Packets == 0 && from.Rejected[media.NoDestination] >= leastRefused && l.due.Total >= leastDue:
		add(faultUnreachable, " could be sent nothing: its SDP "+l.hiddenBy()+", and nothing came that shows its real address")
	case from.Rejected[media.SendFailed] >= max(leastRefused, from.RTP.Packets/10):
		add(faultUnreachable, fmt.Sprintf(" could not be sent everything: the system refused %d packets", from.Rejected[media.SendFailed]))
	case s.Sent.Packets >= leastRefused && s.Heard.Reports == 0 && s.Heard.Empty >= leastEmpty:
		add(faultDeaf, " heard nothing, by its reports (RTCP)")
	case s.Sent.Packets >= leastRefused && s.Heard.Reports > 0 && missed(s, from) >= muchMissed:
		add(faultDeaf, fmt.Sprintf(" missed %.0f %% of what it was sent, by its reports (RTCP)", 100*missed(s, from)))
	}
}

// hiddenBy says why the SDP address of a leg cannot be sent to.
func (l listening) hiddenBy() string {
	if !l.s.Named.IsValid() {
		return "has a host name"
	}
	if f := media.FamilyOf(l.s.Named.Addr()); f != l.Family {
		return fmt.Sprintf("names %s, while its signalling goes over %s", l.s.Named, l.Family)
	}
	return fmt.Sprintf("names %s, which is behind a NAT", l.s.Named)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// about is a duration in seconds, below 10 s with tenths.
func about(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
