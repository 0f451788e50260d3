package capture_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"wakebridge/bridge/media/capture"
	"wakebridge/bridge/media/relay"
)

// Everything is in the file, in order, with its addresses and time.
func TestFile(t *testing.T) {
	redact := func(b []byte) { copy(b[bytes.Index(b, []byte("secret")):], "xxxxxx") }
	inWorld(t, func(c *capture.Config) { c.Redact = redact }, func(w *world) {
		r, id := w.begin()
		start := time.Now()
		r.Message(message("INVITE secret"))
		time.Sleep(time.Second)
		r.Comment(time.Now(), "VoIP push sent")
		six := message("SIP/2.0 200 secret")
		six.From, six.To, six.Transport = peer6, ours, "TLS"
		r.Message(six)
		r.See(voice(t, 1, 160))
		report := relay.Seen{At: time.Now(), From: ours, To: peer, RTCP: true, Data: []byte("\x80\xc9\x00\x01abcd")}
		r.See(report)
		r.See(relay.Seen{At: time.Now(), From: ours, To: peer, Data: []byte("no RTP")})
		r.End(false)
		w.settle()
		c := w.read(id)
		want := []struct {
			face, from, to string
			after          time.Duration
			payload        string
			length         int
			comment        string
		}{
			{"sip", "198.51.100.7 40000", "192.0.2.1 5060", 0, "INVITE xxxxxx", 13, ""},
			{"wakebridge", "127.0.0.1 514", "127.0.0.1 514", time.Second, "<14>wakebridge: VoIP push sent", 30, "VoIP push sent"},
			{"sip", "2001:db8::7 40000", "192.0.2.1 5060", time.Second, "SIP/2.0 200 xxxxxx", 18, "over TLS"},
			{"media", "198.51.100.7 40000", "192.0.2.1 5060", time.Second, string(voice(t, 1, 0).Data), 24 + 160, ""},
			{"media", "192.0.2.1 5060", "198.51.100.7 40000", time.Second, string(report.Data), 8, ""},
			{"media", "192.0.2.1 5060", "198.51.100.7 40000", time.Second, "", 6, ""},
		}
		if len(c.packets) != len(want) {
			t.Fatalf("%+v", c.packets)
		}
		for i, p := range c.packets {
			x := want[i]
			if p.face != x.face || p.from != x.from || p.to != x.to || !p.at.Equal(start.Add(x.after)) ||
				string(p.payload) != x.payload || p.length != x.length || strings.Join(p.comments, ";") != x.comment {
				t.Errorf("packet %d: %+v, want %+v", i, p, x)
			}
		}
		if !strings.Contains(c.comment, id) || !strings.Contains(c.comment, "blanked") || len(c.stats) != 3 || c.stats[0].PacketsReceived != 3 {
			t.Errorf("%q %+v", c.comment, c.stats)
		}
		for path, mode := range map[string]os.FileMode{w.dir: 0o700, filepath.Join(w.dir, id+".pcapng"): 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v %v", path, info.Mode(), err)
			}
		}
		if n := w.count("calls_total", "kept"); n != 1 {
			t.Errorf("%v kept", n)
		}
	})
}

func TestWholePackets(t *testing.T) {
	inWorld(t, func(c *capture.Config) { c.Whole = true }, func(w *world) {
		r, id := w.begin()
		p := voice(t, 1, 160)
		r.See(p)
		r.See(relay.Seen{At: time.Now(), From: ours, To: peer, Data: []byte("no RTP")})
		r.End(false)
		w.settle()
		got := w.read(id).of("media")
		if len(got) != 2 || !bytes.Equal(got[0].payload, p.Data) || string(got[1].payload) != "no RTP" {
			t.Errorf("%+v", got)
		}
	})
}

// Packets that were not believed are there with the reason, their headers only, and
// not more than a few.
func TestRefusedPackets(t *testing.T) {
	inWorld(t, func(c *capture.Config) { c.Whole = true }, func(w *world) {
		r, id := w.begin()
		for i := range 1000 {
			p := voice(t, uint16(i), 160)
			p.Refused, p.Reason = true, relay.WrongSource
			r.See(p)
		}
		r.See(voice(t, 1, 160))
		r.End(false)
		w.settle()
		got := w.read(id).of("media")
		if len(got) != 201 || len(got[0].payload) != 24 || !slices.Equal(got[0].comments, []string{"refused: wrong_source"}) || len(got[200].payload) != 184 || got[200].comments != nil {
			t.Errorf("%d packets: %+v", len(got), got[0])
		}
	})
}

// What several goroutines put in at the same moment is in the order of its times.
func TestOrder(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		r, id := w.begin()
		p := voice(t, 1, 160)
		time.Sleep(time.Millisecond)
		r.Comment(time.Now(), "second")
		r.Comment(time.Now(), "third")
		r.See(p)
		r.End(true)
		w.settle()
		if c := w.read(id); len(c.packets) != 3 || c.packets[0].face != "media" || c.packets[1].comments[0] != "second" || c.packets[2].comments[0] != "third" {
			t.Errorf("%+v", c.packets)
		}
	})
}

// A fault of ours costs the capture of one call.
func TestFault(t *testing.T) {
	inWorld(t, func(c *capture.Config) { c.Redact = func(b []byte) { _ = b[5] } }, func(w *world) {
		bad, first := w.begin()
		good, second := w.begin()
		bad.Message(message("BYE"))
		good.Message(message("INVITE"))
		time.Sleep(time.Second)
		bad.Message(message("INVITE"))
		bad.End(true)
		good.End(true)
		w.settle()
		if _, err := w.store.Open(first); !errors.Is(err, capture.ErrNone) {
			t.Error(err)
		}
		if c := w.read(second); len(c.packets) != 1 {
			t.Errorf("%+v", c)
		}
		if n := w.count("calls_total", "failed"); n != 1 || !strings.Contains(w.log.String(), "fault") {
			t.Errorf("%v failed: %s", n, w.log.String())
		}
	})
}

// A message longer than a UDP packet may be is cut, and says so.
func TestLongMessage(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		r, id := w.begin()
		r.Message(message(strings.Repeat("a", 65535)))
		r.End(true)
		w.settle()
		got := w.read(id).packets
		if len(got) != 1 || len(got[0].payload) != 65507 || !slices.Equal(got[0].comments, []string{"the last 28 octets are cut off"}) {
			t.Errorf("%d packets, %d octets, %q", len(got), len(got[0].payload), got[0].comments)
		}
	})
}

// Messages find the recordings that claimed their key, until a moment after the end.
func TestClaim(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, first := w.begin()
		b, second := w.begin()
		a.Claim("x")
		b.Claim("x")
		b.Claim("y")
		w.store.Message("x", message("both"))
		w.store.Message("y", message("second"))
		w.store.Message("z", message("nobody"))
		a.End(false)
		time.Sleep(time.Second)
		w.store.Message("x", message("last word"))
		time.Sleep(5 * time.Second)
		w.store.Message("x", message("too late"))
		b.End(false)
		w.settle()
		for id, want := range map[string]string{first: "both last word", second: "both second last word too late"} {
			var got []string
			for _, p := range w.read(id).packets {
				got = append(got, string(p.payload))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	})
}

// What came just before a key was claimed belongs to it, if it may begin a call.
func TestLobby(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		say := func(key, text string, begins bool) {
			m := message(text)
			m.Begins = begins
			w.store.Message(key, m)
		}
		say("x", "forgotten", true)
		time.Sleep(6 * time.Second)
		say("x", "first", true)
		time.Sleep(time.Second)
		say("x", "no call", false)
		say("y", "another", true)
		say("x", "second", true)
		a, first := w.begin()
		a.Claim("x")
		say("x", "third", true)
		b, second := w.begin()
		b.Claim("x")
		a.End(true)
		b.End(true)
		w.settle()
		var got []string
		for _, p := range w.read(first).packets {
			got = append(got, string(p.payload))
		}
		if strings.Join(got, " ") != "first second third" {
			t.Errorf("%q", got)
		}
		if _, err := w.store.Open(second); !errors.Is(err, capture.ErrNone) {
			t.Errorf("what was claimed is given away again: %v", err)
		}
		for range 1000 {
			say("flood", strings.Repeat("a", 60000), true)
		}
		c, third := w.begin()
		c.Claim("flood")
		c.End(true)
		w.settle()
		if n := len(w.read(third).packets); n != 4 {
			t.Errorf("%d messages waited", n)
		}
	})
}

// A message that comes while its key is claimed is not lost between the two.
func TestClaimMeetsMessage(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		const rounds = 2000
		var lost int
		for i := range rounds {
			r, id := w.begin()
			key := strconv.Itoa(i)
			var both sync.WaitGroup
			both.Go(func() {
				m := message("100 Trying")
				m.Begins = true
				w.store.Message(key, m)
			})
			both.Go(func() { r.Claim(key) })
			both.Wait()
			r.End(true)
			w.settle()
			if f, err := w.store.Open(id); err != nil {
				lost++
			} else if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if lost > 0 {
			t.Errorf("%d of %d messages are lost", lost, rounds)
		}
	})
}

// Of calls that went well nothing stays if only failed ones are wanted.
func TestFailedOnly(t *testing.T) {
	inWorld(t, func(c *capture.Config) { c.Calls = capture.Failed }, func(w *world) {
		good, goodID := w.begin()
		bad, badID := w.begin()
		for _, r := range []*capture.Recording{good, bad} {
			r.Message(message("INVITE"))
		}
		time.Sleep(time.Second)
		if c := w.read(goodID); len(c.packets) != 1 {
			t.Errorf("while it goes on: %+v", c)
		}
		good.End(false)
		good.End(true) // the first counts
		bad.End(true)
		bad.End(false)
		w.settle()
		if got := w.files(); !slices.Equal(got, []string{badID}) {
			t.Errorf("%v", got)
		}
		if _, err := w.store.Open(goodID); !errors.Is(err, capture.ErrNone) {
			t.Error(err)
		}
		if k, d := w.count("calls_total", "kept"), w.count("calls_total", "discarded"); k != 1 || d != 1 {
			t.Errorf("%v kept, %v discarded", k, d)
		}
	})
}

func TestOff(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		old, id := w.begin()
		old.Message(message("INVITE"))
		old.End(true)
		w.settle()
		w.store.Close()
		w.open(func(c *capture.Config) { c.Calls = capture.Off })
		r := w.store.Begin(uuid.NewString())
		r.Claim("x")
		r.Message(message("a"))
		r.Comment(time.Now(), "b")
		r.End(true)
		w.store.Message("x", message("c"))
		if got := w.files(); !slices.Equal(got, []string{id}) || len(w.read(id).packets) != 1 {
			t.Errorf("%v", got)
		}
		time.Sleep(25 * time.Hour)
		if got := w.files(); len(got) != 0 {
			t.Errorf("kept for ever: %v", got)
		}
	})
	var none *capture.Store
	none.Message("x", message("a"))
	none.Close()
	if _, err := none.Open(uuid.NewString()); none.Begin("a") != nil || !errors.Is(err, capture.ErrNone) {
		t.Error(err)
	}
}

func TestOffMakesNoFolder(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.store.Close()
		w.dir = filepath.Join(w.dir, "none")
		w.open(func(c *capture.Config) { c.Calls = capture.Off })
		if _, err := os.Stat(w.dir); !os.IsNotExist(err) {
			t.Error(err)
		}
	})
}

// The end of the store finishes what goes on.
func TestCloseFinishes(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		running, a := w.begin()
		running.Message(message("INVITE"))
		ended, b := w.begin()
		ended.Message(message("INVITE"))
		ended.End(false)
		before := time.Now()
		w.store.Close()
		if time.Since(before) != 0 {
			t.Errorf("took %s", time.Since(before))
		}
		running.Message(message("late"))
		running.End(true)
		if w.store.Begin(uuid.NewString()) != nil {
			t.Error("a closed store records")
		}
		w.open(nil)
		for _, id := range []string{a, b} {
			if c := w.read(id); len(c.packets) != 1 || len(c.stats) != 3 {
				t.Errorf("%+v", c)
			}
		}
	})
}

func TestNames(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		r, id := w.begin()
		if w.store.Begin(id) != nil {
			t.Error("one call is recorded twice")
		}
		if _, err := w.store.Open(id); !errors.Is(err, capture.ErrNone) {
			t.Errorf("nothing is written yet: %v", err)
		}
		r.Message(message("INVITE"))
		r.End(true)
		w.settle()
		if f, err := w.store.Open(strings.ToUpper(id)); err != nil {
			t.Error(err)
		} else if err := f.Close(); err != nil {
			t.Error(err)
		}
		for _, name := range []string{"", "../wakebridge", "../captures/" + id, id + ".pcapng", uuid.NewString()} {
			if _, err := w.store.Open(name); !errors.Is(err, capture.ErrNone) {
				t.Errorf("%q: %v", name, err)
			}
		}
	})
}

// What a process that died left half done goes; what is not ours stays.
func TestLeftovers(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		r, id := w.begin()
		r.Message(message("INVITE"))
		r.End(true)
		w.settle()
		w.store.Close()
		half := filepath.Join(w.dir, uuid.NewString()+".part")
		for _, name := range []string{half, filepath.Join(w.dir, "notes.part"), filepath.Join(w.dir, "a.pcapng")} {
			if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w.open(nil)
		if got := w.files(); !slices.Contains(got, id) || !slices.Contains(got, "a") || !slices.Contains(got, "notes.part") || len(got) != 3 {
			t.Errorf("%v", got)
		}
		if n := w.count("files", ""); n != 1 {
			t.Errorf("%v files", n)
		}
		if err := os.Remove(filepath.Join(w.dir, "notes.part")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestConfig(t *testing.T) {
	for name, c := range map[string]capture.Config{
		"no folder": {Keep: time.Hour, MaxBytes: 1}, "no time": {Dir: t.TempDir(), MaxBytes: 1}, "no room": {Dir: t.TempDir(), Keep: time.Hour},
	} {
		if _, err := capture.New(c); !errors.Is(err, capture.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := capture.New(capture.Config{Dir: file, Keep: time.Hour, MaxBytes: 1, Calls: capture.All}); err == nil || !strings.Contains(err.Error(), "folder") {
		t.Error(err)
	}
}

// The disk costs captures only, is named once, and is used again when it works.
func TestDiskFails(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		call := func() string {
			r, id := w.begin()
			r.Message(message("INVITE"))
			time.Sleep(time.Second)
			r.See(voice(t, 1, 160))
			r.End(true)
			w.settle()
			return id
		}
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := w.store.Open(call()); !errors.Is(err, capture.ErrNone) {
				t.Error(err)
			}
		}
		if n, errs := w.count("calls_total", "failed"), w.count("errors_total", ""); n != 3 || errs != 3 {
			t.Errorf("%v failed, %v errors", n, errs)
		}
		if n := strings.Count(w.log.String(), "captures are lost"); n != 1 {
			t.Errorf("logged %d times: %s", n, w.log.String())
		}
		if n := w.count("bytes", ""); n != 0 {
			t.Errorf("%v bytes are promised to nobody", n)
		}
		if err := os.Mkdir(w.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if c := w.read(call()); len(c.packets) != 2 {
			t.Errorf("%+v", c)
		}
		if !strings.Contains(w.log.String(), "written again") {
			t.Error(w.log.String())
		}
		synctest.Wait()
	})
}
