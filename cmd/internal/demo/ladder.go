package demo

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// lane is a column of the ladder.
type lane int

const (
	lanePBX lane = iota
	laneBridge
	laneAPNs
	laneIPhone
	laneIPhone2
)

// String is the column's head.
func (l lane) String() string {
	return [...]string{"pbx", "wakebridge", "apns", "iphone", "iphone 2"}[l]
}

// Arrow is one line of the ladder: a message from lane to lane, or (From equal to
// To) something that happens in one.
type Arrow struct {
	At   time.Time `json:"at"`
	MS   int64     `json:"ms"` // since the INVITE
	From string    `json:"from"`
	To   string    `json:"to"`
	Text string    `json:"text"`

	from, to lane
	both     bool // flows in both directions
}

const (
	laneWidth = 22
	noteWidth = 12 // beyond the last lane's half
	timeWidth = 10
)

// ladder collects arrows and prints them as they come. They come from several
// goroutines, each a moment after it happened, so a line waits for settle before
// it is printed, and lines are printed in the order of their times.
type ladder struct {
	mu      sync.Mutex
	out     io.Writer // nil: nothing is printed
	lanes   int
	start   time.Time
	arrows  []Arrow
	printed int
	err     error // of the first failed write
	stop    chan struct{}
	done    chan struct{}
}

// settle is how long a line waits for earlier ones.
const settle = 60 * time.Millisecond

func newLadder(out io.Writer, lanes int) *ladder {
	l := &ladder{out: out, lanes: lanes, stop: make(chan struct{}), done: make(chan struct{})}
	go l.run() // awaited by close
	return l
}

func (l *ladder) run() {
	defer close(l.done)
	tick := time.NewTicker(settle / 3)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			l.flush(time.Now().Add(time.Hour))
			return
		case now := <-tick.C:
			l.flush(now.Add(-settle))
		}
	}
}

// close prints what is left and returns the first error of printing.
func (l *ladder) close() error {
	close(l.stop)
	<-l.done
	return l.err
}

// flush prints the arrows up to a time.
func (l *ladder) flush(until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.arrows[l.printed:]
	slices.SortStableFunc(rest, func(a, b Arrow) int { return a.At.Compare(b.At) })
	for _, a := range rest {
		if a.At.After(until) {
			return
		}
		l.printed++
		l.print(fmt.Sprintf("%7s   %s", fmt.Sprintf("+%d", a.MS), l.draw(a)))
	}
}

// head prints the names of the lanes.
func (l *ladder) head() {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", timeWidth-2) + "ms")
	for i := range l.lanes {
		b.WriteString(centre(lane(i).String(), laneWidth))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print(b.String())
}

// begin sets the zero of the clock; arrows before it are not shown.
func (l *ladder) begin(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = at
}

// arrow adds a line.
func (l *ladder) arrow(at time.Time, from, to lane, text string) {
	l.add(Arrow{At: at, Text: text, from: from, to: to})
}

// stream adds a line for what flows both ways.
func (l *ladder) stream(at time.Time, from, to lane, text string) {
	l.add(Arrow{At: at, Text: text, from: from, to: to, both: true})
}

func (l *ladder) add(a Arrow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.start.IsZero() || a.At.Before(l.start) {
		return
	}
	a.MS, a.From, a.To = a.At.Sub(l.start).Milliseconds(), a.from.String(), a.to.String()
	l.arrows = append(l.arrows, a)
}

// print writes a line; mu is held.
func (l *ladder) print(line string) {
	if l.out == nil || l.err != nil {
		return
	}
	_, l.err = fmt.Fprintln(l.out, strings.TrimRight(line, " "))
}

func (l *ladder) all() []Arrow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Arrow(nil), l.arrows...)
}

// draw is the line between the lanes: bars for those that the arrow does not
// touch.
func (l *ladder) draw(a Arrow) string {
	cells := []rune(strings.Repeat(" ", l.lanes*laneWidth+noteWidth))
	for i := range l.lanes {
		cells[middle(lane(i))] = '│'
	}
	if a.from == a.to {
		put(cells, middle(a.from)+1, " "+a.Text)
		return string(cells)
	}
	left, right := middle(min(a.from, a.to)), middle(max(a.from, a.to))
	line := '─'
	if a.both {
		line = '═'
	}
	for i := left + 1; i < right; i++ {
		cells[i] = line
	}
	if a.from < a.to || a.both {
		cells[right-1] = '▶'
	}
	if a.from > a.to || a.both {
		cells[left+1] = '◀'
	}
	text := " " + cut(a.Text, right-left-7) + " "
	put(cells, left+1+(right-left-utf8.RuneCountInString(text))/2, text)
	return string(cells)
}

func middle(l lane) int { return int(l)*laneWidth + laneWidth/2 }

func put(cells []rune, at int, text string) {
	for _, r := range text {
		if at < len(cells) {
			cells[at] = r
		}
		at++
	}
}

func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:max(n-1, 0)]) + "…"
}

func centre(s string, width int) string {
	left := max((width-utf8.RuneCountInString(s))/2, 0)
	return strings.Repeat(" ", left) + s + strings.Repeat(" ", max(width-left-utf8.RuneCountInString(s), 0))
}
