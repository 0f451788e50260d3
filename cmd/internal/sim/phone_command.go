package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"wakebridge/sipua/iphone"
)

// errCommand is a command that is none.
var errCommand = errors.New("no such command")

// errCommandUsage is a command with the wrong arguments.
var errCommandUsage = errors.New("usage")

// command is what a person or a script tells a phone.
type command struct {
	name, args  string // args as help shows them
	least, most int    // how many
	about       string
	acts        bool // it does something to the phone
	run         func(ctx context.Context, s *session, args []string) error
}

func (c command) usage() string { return strings.TrimSpace(c.name + " " + c.args) }

// many is no bound for arguments.
const many = 1000

// commands are all of them, as help lists them.
func commands() []command {
	acting := slices.Concat(callCommands(), deviceCommands())
	for i := range acting {
		acting[i].acts = true
	}
	return append(acting, sessionCommands()...)
}

// verb is a command without arguments.
func verb(name, about string, f func(d *iphone.Device) error) command {
	return command{name: name, about: about, run: func(_ context.Context, s *session, _ []string) error { return f(s.phone().device) }}
}

// toggle is a command with on or off.
func toggle(name, about string, f func(d *iphone.Device, on bool) error) command {
	return command{name: name, args: "on|off", least: 1, most: 1, about: about, run: func(_ context.Context, s *session, args []string) error {
		if args[0] != "on" && args[0] != "off" {
			return fmt.Errorf("%w: %s on|off", errCommandUsage, name)
		}
		return f(s.phone().device, args[0] == "on")
	}}
}

func callCommands() []command {
	return []command{
		verb("answer", "answer the call that rings, and hold the one that is talked in", func(d *iphone.Device) error { return d.Answer(uuid.Nil) }),
		verb("end-and-answer", "end the call that is talked in, and answer the one that rings", func(d *iphone.Device) error { return d.EndAndAnswer(uuid.Nil) }),
		verb("decline", "decline the call that rings", func(d *iphone.Device) error { return d.Decline(uuid.Nil) }),
		verb("end", "hang up on the call screen", func(d *iphone.Device) error { return d.End(uuid.Nil) }),
		verb("hangup", "hang up inside the app", func(d *iphone.Device) error { return d.HangUp(uuid.Nil) }),
		verb("hold", "put the call on hold", func(d *iphone.Device) error { return d.Hold(uuid.Nil) }),
		verb("unhold", "go on with the call on hold", func(d *iphone.Device) error { return d.Unhold(uuid.Nil) }),
		verb("mute", "send silence", func(d *iphone.Device) error { return d.Mute(uuid.Nil, true) }),
		verb("unmute", "send sound again", func(d *iphone.Device) error { return d.Mute(uuid.Nil, false) }),
		{name: "dtmf", args: "DIGITS", least: 1, most: 1, about: "press keys", run: func(_ context.Context, s *session, args []string) error {
			if strings.Trim(args[0], "0123456789*#ABCDabcd") != "" {
				return fmt.Errorf("%w: dtmf DIGITS, of 0 to 9, *, #, A to D", errCommandUsage)
			}
			return s.phone().device.Press(uuid.Nil, args[0])
		}},
		{name: "call", args: "NUMBER", least: 1, most: 1, about: "call a number or a SIP URI", run: func(_ context.Context, s *session, args []string) error {
			return s.phone().device.Dial(args[0])
		}},
		toggle("cellular", "a call of the mobile network comes, or ends", (*iphone.Device).Cellular),
	}
}

func deviceCommands() []command {
	return []command{
		verb("lock", "put the phone away", (*iphone.Device).Lock),
		verb("unlock", "unlock the phone", (*iphone.Device).Unlock),
		verb("background", "leave the app, which is suspended when it is idle", (*iphone.Device).Background),
		verb("sleep", "suspend the app at once, and close its connection", (*iphone.Device).Sleep),
		verb("foreground", "open the app", (*iphone.Device).Open),
		verb("kill", "kill the app, without a word to anybody", (*iphone.Device).Kill),
		verb("tap", "tap on the newest notification", (*iphone.Device).Tap),
		toggle("airplane", "take the phone off all networks, or back", (*iphone.Device).Airplane),
		toggle("dnd", "do not disturb", (*iphone.Device).DoNotDisturb),
		{name: "block", args: "[HANDLE...]", most: many, about: "block these callers and no others", run: func(_ context.Context, s *session, args []string) error {
			return s.phone().device.Block(args...)
		}},
		verb("restart", "restart the phone: locked, and nothing can be read before `unlock`", (*iphone.Device).Restart),
		verb("reinstall", "remove the app and install it again: new tokens", (*iphone.Device).Reinstall),
		verb("invalidate", "PushKit takes the VoIP token back", (*iphone.Device).InvalidateToken),
		verb("reset", "CallKit forgets all calls", (*iphone.Device).ResetCallKit),
	}
}

func sessionCommands() []command {
	return []command{
		{name: "wait", args: waitArgs, least: 1, most: many, run: wait,
			about: "wait for an event since the last command, with this reason or text; 30s if no time is given"},
		{name: "pause", args: "TIME", least: 1, most: 1, about: "do nothing for a while", run: pause},
		{name: "phone", args: "N", least: 1, most: 1, about: "the phone that obeys from now on", run: choose},
		{name: "status", about: "show the phone's state", run: func(_ context.Context, s *session, _ []string) error {
			st, err := s.phone().device.Status()
			if err == nil {
				s.catchUp()
				s.screen.status(s.phone().number, st)
			}
			return err
		}},
		{name: "events", about: "list the names of events for `wait`", run: func(_ context.Context, s *session, _ []string) error {
			s.screen.show(map[string]any{"events": eventNames()}, "  "+strings.Join(eventNames(), "\n  "))
			return nil
		}},
		{name: "help", about: "list the commands", run: func(_ context.Context, s *session, _ []string) error { s.screen.help(); return nil }},
		{name: "quit", about: "switch the phone off and end", run: func(context.Context, *session, []string) error { return errQuit }},
	}
}

func choose(_ context.Context, s *session, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > len(s.phones) {
		return fmt.Errorf("%w: phone N; there are phones 1 to %d", errCommandUsage, len(s.phones))
	}
	s.current = n - 1
	return nil
}

func pause(ctx context.Context, _ *session, args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return fmt.Errorf("%w: pause TIME: %w", errCommandUsage, err)
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
