package model

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"wakebridge/push/apnssim"
	"wakebridge/sipua"
)

// story tells what happened, for whoever has to understand a broken sequence: the
// server's messages, the pushes, the phones' timelines and the records, by time.
func (w *world) story() string {
	type line struct {
		at   time.Time
		text string
	}
	w.mu.Lock()
	var lines []line
	for _, h := range w.heard {
		lines = append(lines, line(h))
	}
	w.mu.Unlock()
	for _, p := range w.phones {
		for _, e := range p.device.Timeline() {
			lines = append(lines, line{e.At, fmt.Sprintf("%s: %s %s %s %.8s", p.name, e.Kind, e.Reason, e.Text, e.UUID)})
		}
	}
	for _, e := range w.dev.APNs.Requests(apnssim.Filter{}) {
		lines = append(lines, line{e.ReceivedAt, fmt.Sprintf("APNs: %s push %.8s to %.4s, %d %s %s %s", e.Get("apns-push-type"), e.APNsID, e.Token(), e.Verdict.Status, e.Verdict.Reason, e.Fault, e.Delivery)})
	}
	for _, r := range w.observer.Records() {
		text := fmt.Sprintf("record %.8s: %s %d %s, caller's Call-ID %.8s", r.ID, r.Result, r.Status, r.Reason, r.CallID)
		for _, a := range r.Attempts {
			text += fmt.Sprintf("; %.8s %s", a.UUID, a.Outcome)
			for _, p := range a.Pushes {
				text += ", " + p.Words
			}
		}
		lines = append(lines, line{r.Ended, text})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s %s\n", l.at.UTC().Format("15:04:05.000"), l.text)
	}
	return b.String()
}

// message is one that the server read or wrote, for the story.
type message struct {
	at   time.Time
	text string
}

// saw is the server's tap.
func (w *world) saw(t sipua.Traffic) {
	w.observer.Saw(t)
	if !w.telling {
		return
	}
	way := "<-"
	if t.Sent {
		way = "->"
	}
	first, _, _ := strings.Cut(t.Message.String(), "\r\n")
	text := fmt.Sprintf("  server %s flow %d %s: %.60s [%s] %.8s %s", way, t.Flow.ID(), t.Flow.Remote(), first, sipua.Value(t.Message, "CSeq"),
		sipua.Value(t.Message, "Call-ID"), sipua.Value(t.Message, "X-Call-Ended"))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, message{t.At, text})
}
