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

// waitArgs are those of wait.
const waitArgs = "EVENT [DETAIL] [TIME]"

// errWait is an event that did not come.
var errWait = errors.New("it did not come")

// wait takes the first event of a kind that came since the last command and that no
// other wait has taken, or waits for it.
func wait(ctx context.Context, s *session, args []string) error {
	kind, rest, err := readKind(args)
	if err != nil {
		return err
	}
	detail, limit := rest, defaultWait
	if n := len(detail); n > 0 {
		if d, err := time.ParseDuration(detail[n-1]); err == nil {
			detail, limit = detail[:n-1], d
		}
	}
	want := strings.Join(detail, " ")
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := s.phone()
	for at := p.floor; ; {
		e, err := p.device.Wait(within, at, kind)
		switch {
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
			return fmt.Errorf("%s, %s: %w", limit, strings.TrimSpace(string(kind)+" "+want), errWait)
		case err != nil:
			return err
		}
		at = e.Seq
		if (want == "" || want == string(e.Reason) || want == e.Text) && !slices.Contains(p.taken, at) {
			p.taken = append(p.taken, at)
			return nil
		}
	}
}

// readKind reads a kind at the beginning of args, as JSON has it or with hyphens: the
// longest that fits, as "cellular call ended" begins with another.
func readKind(args []string) (kind iphone.Kind, rest []string, err error) {
	all := eventKinds()
	for n := len(args); n > 0; n-- {
		if kind, ok := all[strings.ToLower(strings.Join(args[:n], "-"))]; ok {
			return kind, args[n:], nil
		}
	}
	return "", nil, fmt.Errorf("%w: wait %s; no event is called %q, events lists them", errCommandUsage, waitArgs, args[0])
}
