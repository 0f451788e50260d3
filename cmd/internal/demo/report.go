package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua/softphone"
)

// Report is what one scene came to.
type Report struct {
	Scene   string  `json:"scene"`
	About   string  `json:"about"`
	Verdict string  `json:"verdict"` // "pass" or "fail"
	Checks  []Check `json:"checks"`
	Times   Times   `json:"times"`
	Audio   []Heard `json:"audio,omitempty"`
	// Shortened are deadlines that the demo runs with instead of the defaults.
	Shortened []string `json:"shortened,omitempty"`
	Ladder    []Arrow  `json:"ladder"`
	Reason    string   `json:"reason"` // the call's record says why it went so
}

// Check is something that had to happen.
type Check struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Saw  string `json:"saw,omitempty"`
}

// Times are in milliseconds; those that do not apply are absent.
type Times struct {
	Wake             *float64 `json:"wake_ms,omitempty"`               // push accepted to REGISTER
	RegisterToInvite *float64 `json:"register_to_invite_ms,omitempty"` // REGISTER authorised to INVITE sent
	PostDialDelay    *float64 `json:"post_dial_delay_ms,omitempty"`    // INVITE to the first 180
	Answer           *float64 `json:"answer_ms,omitempty"`             // INVITE to 200
	Total            *float64 `json:"total_ms,omitempty"`
}

// Heard is what one side heard of the other, measured on the RTP that it
// received.
type Heard struct {
	Who      string  `json:"who"`
	Sent     uint64  `json:"sent"`
	Received uint64  `json:"received"`
	Lost     uint64  `json:"lost"`
	Level    float64 `json:"level_dbfs"`
	Tone     float64 `json:"tone_share"` // of what was heard, at the other's frequency
	Hz       float64 `json:"tone_hz"`
}

const (
	pass = "pass"
	fail = "fail"
)

func (r *Report) passed() bool { return r.Verdict == pass }

// judge sets the verdict.
func (r *Report) judge() {
	r.Verdict = pass
	for _, c := range r.Checks {
		if !c.OK {
			r.Verdict = fail
		}
	}
	if len(r.Checks) == 0 {
		r.Verdict = fail
	}
}

// check notes something that had to happen, and what was seen instead.
func (r *Report) check(what string, ok bool, saw string, args ...any) {
	r.Checks = append(r.Checks, Check{What: what, OK: ok, Saw: fmt.Sprintf(saw, args...)})
}

// heard notes and checks what a call's side heard.
func (r *Report) heard(who string, a softphone.Audio, hz float64) {
	tone := a.Tone(hz)
	r.Audio = append(r.Audio, Heard{Who: who, Sent: a.Sent, Received: a.Received, Lost: a.Lost,
		Level: round(a.Level), Tone: round(tone), Hz: hz})
	r.check(fmt.Sprintf("%s hears the other's tone (%.0f Hz)", who, hz), a.Received > 20 && tone > 0.8,
		"%d packets, %d lost, %.1f dBFS, %.0f %% of it at %.0f Hz", a.Received, a.Lost, a.Level, 100*tone, hz)
}

func round(f float64) float64 { return math.Round(f*100) / 100 }

// times reads what the record knows.
func (r *Report) times(rec bridge.Record) {
	r.Reason = rec.Reason
	r.Times.PostDialDelay = between(rec.Started, rec.Rang)
	r.Times.Answer = between(rec.Started, rec.Answered)
	r.Times.Total = between(rec.Started, rec.Ended)
	for _, a := range rec.Attempts {
		if a.Registered.IsZero() || a.Invited.IsZero() {
			continue
		}
		for _, p := range a.Pushes {
			if p.Accepted {
				r.Times.Wake = between(p.At, a.Registered)
			}
		}
		r.Times.RegisterToInvite = between(a.Registered, a.Invited)
	}
}

// between is a span in milliseconds, nil if one end never came.
func between(from, to time.Time) *float64 {
	if from.IsZero() || to.IsZero() {
		return nil
	}
	ms := round(float64(to.Sub(from)) / float64(time.Millisecond))
	return &ms
}

// write prints the report below the ladder.
func (r *Report) write(out io.Writer) error {
	var b strings.Builder
	b.WriteString("\n")
	for _, c := range r.Checks {
		mark := "✓"
		if !c.OK {
			mark = "✗"
		}
		fmt.Fprintf(&b, "  %s %s", mark, c.What)
		if c.Saw != "" {
			fmt.Fprintf(&b, " (%s)", c.Saw)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n%s  %s", strings.ToUpper(r.Verdict), r.Scene)
	for _, t := range []struct {
		name string
		ms   *float64
	}{{"wake", r.Times.Wake}, {"REGISTER to INVITE", r.Times.RegisterToInvite}, {"post-dial delay", r.Times.PostDialDelay}} {
		if t.ms != nil {
			fmt.Fprintf(&b, " · %s %s", t.name, millis(*t.ms))
		}
	}
	if len(r.Audio) == 2 { // what one sent, the other lost
		for i, h := range r.Audio {
			fmt.Fprintf(&b, " · from %s %d packets, %d lost", h.Who, h.Sent, r.Audio[1-i].Lost)
		}
	}
	fmt.Fprintf(&b, "\n      %s\n", r.Reason)
	_, err := io.WriteString(out, b.String())
	return err
}

func millis(ms float64) string {
	if ms >= 100 {
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f ms", ms)
}

func (r *Report) writeJSON(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}
