package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"wakebridge/sipua/iphone"
)

// eventAliases are short names for what scripts wait for most.
func eventAliases() map[string]iphone.Kind {
	return map[string]iphone.Kind{
		"push":     iphone.PushReceived,
		"ringing":  iphone.Reported, // the user sees it
		"invite":   iphone.InviteReceived,
		"answered": iphone.Fulfilled,
		"talking":  iphone.AudioStarted,
		"ended":    iphone.Ended,
		"asleep":   iphone.Suspended,
		"killed":   iphone.Killed,
		"held":     iphone.Held,
		"resumed":  iphone.Resumed,
		"fate":     iphone.FateTold,
		"violated": iphone.Violated,
	}
}

// eventKinds are all events by their names for wait: the kind's with hyphens, and
// the aliases.
func eventKinds() map[string]iphone.Kind {
	all := eventAliases()
	for _, k := range iphone.Kinds() {
		all[strings.ToLower(strings.ReplaceAll(string(k), " ", "-"))] = k
	}
	return all
}

func eventNames() []string { return slices.Sorted(maps.Keys(eventKinds())) }

// errWait is an event that did not come.
var errWait = errors.New("it did not come")

// wait waits for the first event of a kind behind the newest that a wait found.
func wait(ctx context.Context, s *session, args []string) error {
	kind, ok := eventKinds()[strings.ToLower(args[0])]
	if !ok {
		return fmt.Errorf("%w: event %q; events lists them", errCommand, args[0])
	}
	detail, limit := args[1:], defaultWait
	if n := len(detail); n > 0 {
		if d, err := time.ParseDuration(detail[n-1]); err == nil {
			detail, limit = detail[:n-1], d
		}
	}
	want := strings.Join(detail, " ")
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := s.phone()
	for at := p.seen; ; {
		e, err := p.device.Wait(within, at, kind)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return fmt.Errorf("%s, %s: %w", limit, strings.TrimSpace(string(kind)+" "+want), errWait)
		case err != nil:
			return err
		}
		at = e.Seq
		if want == "" || want == string(e.Reason) || want == e.Text {
			p.seen = at
			return nil
		}
	}
}
