package capture

import (
	"slices"
	"sync"
	"time"
)

// What a lobby holds at most, and for how long.
const (
	lobbyMessages = 64
	lobbyBytes    = 256 << 10
	lobbyTime     = 5 * time.Second
)

// lobby holds messages that came before anybody knew whose they are: the INVITE of a
// call, and the challenge before it.
type lobby struct {
	mu    sync.Mutex
	held  []held // in order of arrival
	bytes int
}

type held struct {
	key string
	Message
}

// enter holds a message, for which the oldest go.
func (l *lobby) enter(key string, m Message) {
	if len(m.Data) > lobbyBytes {
		return
	}
	m.Data = slices.Clone(m.Data)
	l.mu.Lock()
	defer l.mu.Unlock()
	gone := 0
	for _, h := range l.held {
		if len(l.held)-gone < lobbyMessages && l.bytes+len(m.Data) <= lobbyBytes && m.At.Sub(h.At) < lobbyTime {
			break
		}
		l.bytes -= len(h.Data)
		gone++
	}
	l.held = append(slices.Delete(l.held, 0, gone), held{key, m})
	l.bytes += len(m.Data)
}

// leave gives the messages with this key.
func (l *lobby) leave(key string) []Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Message
	l.held = slices.DeleteFunc(l.held, func(h held) bool {
		if h.key != key {
			return false
		}
		if time.Since(h.At) < lobbyTime {
			out = append(out, h.Message)
		}
		l.bytes -= len(h.Data)
		return true
	})
	return out
}
