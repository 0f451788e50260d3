package sim

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"wakebridge/sipua/iphone"
)

// session is a run of RunPhone: the phones, and the commands for them.
type session struct {
	script  bool
	pushes  bool // there is a push service
	screen  *screen
	phones  []*sessionPhone
	current int             // index of the phone that obeys
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	wg      sync.WaitGroup // the printing of events, the listening for pushes
	once    sync.Once
}

func newSession(ctx context.Context, opts PhoneOptions, out io.Writer) *session {
	s := &session{script: opts.Script, pushes: opts.Pushes.URL != "", screen: &screen{out: out, json: opts.JSON}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// sessionPhone is one of its phones.
type sessionPhone struct {
	number int // from 1
	device *iphone.Device
	// A wait takes an event behind floor that none has taken before it: what the
	// network brings between two commands has no order.
	floor int   // Seq of the newest event that was taken before the last command
	taken []int // Seq of those taken since

	mu      sync.Mutex
	printed int // Seq of the newest event on the screen
}

// act begins a command that does something to the phone: what comes of it is behind
// all that was waited for.
func (p *sessionPhone) act() {
	p.floor = slices.Max(append(p.taken, p.floor))
	p.taken = nil
}

// catchUp prints the events that are not on the screen yet.
func (p *sessionPhone) catchUp(sc *screen) (printed int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.device.Timeline()[p.printed:] {
		sc.event(p.number, e)
		p.printed = e.Seq
	}
	return p.printed
}

// add takes a phone, whose events are printed from now on.
func (s *session) add(d *iphone.Device) {
	p := &sessionPhone{number: len(s.phones) + 1, device: d}
	s.phones = append(s.phones, p)
	s.wg.Go(func() { // awaited by close
		for {
			_, err := d.Wait(context.Background(), p.catchUp(s.screen))
			if err != nil { // closed
				p.catchUp(s.screen)
				return
			}
		}
	})
}

// catchUp prints all that happened so far: what a command tells comes behind it.
func (s *session) catchUp() {
	for _, p := range s.phones {
		p.catchUp(s.screen)
	}
}

// phone is the one that obeys.
func (s *session) phone() *sessionPhone { return s.phones[s.current] }

// close switches the phones off, and returns when all is printed.
func (s *session) close() {
	s.once.Do(func() {
		for _, p := range s.phones {
			p.device.Close()
		}
		s.cancel()
	})
	s.wg.Wait()
}

// lastWords is how long what a phone said last may take to leave it.
const lastWords = 200 * time.Millisecond

// farewell lets the phones finish what they say: switched off, they say nothing.
func (s *session) farewell(ctx context.Context) {
	select {
	case <-time.After(lastWords):
	case <-ctx.Done():
	}
}

// errQuit ends a session in peace.
var errQuit = errors.New("quit")

// obey runs the commands that come until the input ends or one says so; in a script
// also until one fails. Errors: ErrScript, ctx's.
func (s *session) obey(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := readLines(ctx, in)
	s.screen.hello(s.script, s.pushes)
	for number := 1; ; number++ {
		var line string
		select {
		case l, open := <-lines:
			if !open {
				return s.interrupted(ctx)
			}
			line = l
		case <-ctx.Done():
			return s.interrupted(ctx)
		}
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		err := s.run(ctx, words)
		if errors.Is(err, errQuit) {
			return nil
		}
		s.catchUp()
		s.screen.command(s.phone().number, strings.Join(words, " "), err)
		if err != nil && s.script {
			return fmt.Errorf("%w: line %d: %s: %w", ErrScript, number, strings.Join(words, " "), err)
		}
	}
}

// interrupted is what it means that ctx has ended, if it has: a script that did not
// go through, or a person who has had enough.
func (s *session) interrupted(ctx context.Context) error {
	if s.script {
		return ctx.Err()
	}
	return nil
}

// readLines reads until the input ends. A read from a terminal cannot be taken back:
// the goroutine ends with its input, or with the process.
func readLines(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() { // ends with in
		defer close(lines)
		for sc := bufio.NewScanner(in); sc.Scan(); {
			select {
			case lines <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// run runs one command.
func (s *session) run(ctx context.Context, words []string) error {
	for _, c := range commands() {
		if c.name != strings.ToLower(words[0]) {
			continue
		}
		args := words[1:]
		if len(args) < c.least || len(args) > c.most {
			return fmt.Errorf("%w: %s", errCommandUsage, c.usage())
		}
		if c.acts {
			s.phone().act()
		}
		return c.run(ctx, s, args)
	}
	return fmt.Errorf("%w: %q; help lists them", errCommand, words[0])
}

// conclude says how the session ended.
func (s *session) conclude(err error) error {
	var broken []phoneViolation
	for _, p := range s.phones {
		for _, v := range p.device.Violations() {
			broken = append(broken, phoneViolation{p.number, v})
		}
	}
	if err == nil && s.script && len(broken) > 0 {
		err = fmt.Errorf("%w: %d broken rules, the first: %s: %s", ErrScript, len(broken), broken[0].Rule, broken[0].Text)
	}
	s.screen.conclusion(s.script, err, broken)
	return err
}
