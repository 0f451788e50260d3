package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"wakebridge/bridge/media/audio"
	"wakebridge/sipua/softphone"
)

// mouth is a Source that is silent but for what it is told to say.
type mouth struct {
	mu   sync.Mutex
	rest []int16
}

// Read implements audio.Source.
func (m *mouth) Read(samples []int16) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := copy(samples, m.rest)
	m.rest = m.rest[n:]
	clear(samples[n:])
	return len(samples), nil
}

func (m *mouth) say(samples []int16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rest = samples
}

// speaker is one end of a conversation.
type speaker struct {
	who   string
	words []int16
	say   func()         // says the words
	heard func() []int16 // all that was recorded so far
}

// speakerOf is a softphone in a call.
func speakerOf(who string, c *softphone.Call, m *mouth, words []int16) speaker {
	return speaker{who, words, func() { m.say(words) }, func() []int16 { return c.Audio().Samples }}
}

// converse lets both say their words, one over the other, and checks that each
// recording since then holds what the other one said.
func converse(t *testing.T, when string, a, b speaker) {
	t.Helper()
	from := [2]int{len(a.heard()), len(b.heard())}
	a.say()
	b.say()
	const margin = audio.SampleRate // what buffers take, and more
	wait(t, 30*time.Second, when+": both to be heard", func() (bool, string) {
		got := [2]int{len(a.heard()) - from[0], len(b.heard()) - from[1]}
		return got[0] > len(b.words)+margin && got[1] > len(a.words)+margin, fmt.Sprint(got, " samples were heard")
	})
	checkHeard(t, when+": "+a.who, a.heard()[from[0]:], b.words, a.words)
	checkHeard(t, when+": "+b.who, b.heard()[from[1]:], a.words, b.words)
}
