package capture_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/bridge/media/capture"
)

// A call that talks for ever takes its share and no more; what is no media is still
// written then.
func TestShareOfOneCall(t *testing.T) {
	const most = 1 << 20
	inWorld(t, func(c *capture.Config) { c.MaxBytes = 16 * most }, func(w *world) {
		r, id := w.begin()
		r.Message(message("INVITE"))
		const packets = 20000
		for i := range packets {
			r.See(voice(t, uint16(i), 160))
			time.Sleep(time.Millisecond)
		}
		r.Message(message("BYE"))
		r.End(true)
		w.settle()
		c := w.read(id)
		media := c.of("media")
		if n := len(media); n < 3000 || n+int(w.count("lost_total", "media")) != packets || c.stats[0].PacketsReceived != packets || int(c.stats[0].PacketsDropped) != packets-n {
			t.Errorf("%d packets, %v lost, %+v", n, w.count("lost_total", "media"), c.stats[0])
		}
		if sip := c.of("sip"); len(sip) != 2 || string(sip[1].payload) != "BYE" {
			t.Errorf("%+v", sip)
		}
		if notes := c.of("wakebridge"); len(notes) != 1 || !strings.Contains(notes[0].comments[0], "capture.max_bytes") {
			t.Errorf("%+v", notes)
		}
		f, err := w.store.Open(id)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Size > most {
			t.Errorf("%d octets, at most %d", f.Size, most)
		}
		// What follows right behind each other has no gaps: the beginning is what is kept.
		for i, p := range media {
			if p.payload[2] != byte(i>>8) || p.payload[3] != byte(i) {
				t.Fatalf("packet %d is %x", i, p.payload[:4])
			}
		}
	})
}

// All calls together take max_bytes and no more, and the oldest go for the newest,
// also over a restart.
func TestOldestGoFirst(t *testing.T) {
	const most = 256 << 10
	limit := func(c *capture.Config) { c.MaxBytes = most }
	inWorld(t, limit, func(w *world) {
		var all []string
		for i := range 60 {
			r, id := w.begin()
			all = append(all, id)
			r.Message(message(strings.Repeat("a", 12000)))
			r.End(true)
			w.settle()
			if n := w.count("bytes", ""); n > most {
				t.Fatalf("%v octets", n)
			}
			if i == 30 {
				w.store.Close()
				w.open(limit)
			}
		}
		got := w.files()
		slices.Sort(got)
		want := slices.Sorted(slices.Values(all[60-len(got):]))
		if len(got) < 15 || !slices.Equal(got, want) {
			t.Errorf("%d files: %v, want %v", len(got), got, want)
		}
		w.store.Close()
		w.open(func(c *capture.Config) { c.MaxBytes = most / 4 })
		if n := len(w.files()); n >= len(got) || n < 3 || w.count("bytes", "") > most/4 {
			t.Errorf("%d files, %v octets after the limit was lowered", n, w.count("bytes", ""))
		}
	})
}

// Calls that go on at the same time are bounded together as well.
func TestManyAtOnce(t *testing.T) {
	const most = 256 << 10
	inWorld(t, func(c *capture.Config) { c.MaxBytes = most }, func(w *world) {
		var all []*capture.Recording
		for range 40 {
			r, _ := w.begin()
			all = append(all, r)
			r.Message(message(strings.Repeat("a", 12000)))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.count("bytes", ""); n > most || n < most/2 {
			t.Errorf("%v octets", n)
		}
		if n := w.count("lost_total", "signalling"); n < 10 {
			t.Errorf("%v lost", n)
		}
		for _, r := range all {
			r.End(true)
		}
		w.settle()
		if n := w.count("bytes", ""); n > most {
			t.Errorf("%v octets", n)
		}
	})
}

func TestKeep(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		call := func() string {
			r, id := w.begin()
			r.Message(message("INVITE"))
			r.End(true)
			w.settle()
			return id
		}
		call()
		time.Sleep(13 * time.Hour)
		second := call()
		w.store.Close() // the age of files outlives the process
		w.open(nil)
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		if got := w.files(); !slices.Equal(got, []string{second}) {
			t.Errorf("%v", got)
		}
	})
}

// A writer that cannot keep up makes nobody wait, and media leaves room for messages.
func TestQueueIsBounded(t *testing.T) {
	inWorld(t, func(c *capture.Config) { c.MaxBytes, c.Whole = 1<<30, true }, func(w *world) {
		r, id := w.begin()
		const packets = 100000
		p := voice(t, 1, 1400)
		began := time.Now()
		for range packets {
			r.See(p)
		}
		r.Message(message("BYE"))
		if time.Since(began) != 0 {
			t.Error("it waited")
		}
		r.End(true)
		w.settle()
		c := w.read(id)
		if n := len(c.of("media")); n == 0 || n+int(w.count("lost_total", "media")) != packets || len(c.of("sip")) != 1 {
			t.Errorf("%d packets, %v lost", n, w.count("lost_total", "media"))
		}
	})
}

// A file that is read while it is written ends between two packets.
func TestReadWhileWritten(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		r, id := w.begin()
		for i := range 500 {
			r.See(voice(t, uint16(i), 160))
			time.Sleep(20 * time.Millisecond)
			if i%50 == 49 {
				synctest.Wait()
				if n := len(w.read(id).packets); n < i-10 || n > i+1 {
					t.Errorf("%d packets of %d", n, i+1)
				}
			}
		}
		// One that was opened before the end stays whole.
		f, err := w.store.Open(id)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		r.End(true)
		w.settle()
		if b, err := io.ReadAll(f); err != nil || int64(len(b)) != f.Size {
			t.Errorf("%d octets of %d: %v", len(b), f.Size, err)
		}
	})
}

// Calls that went well and are thrown away do not push out those that were kept, however
// many there are at once: they may take a quarter.
func TestUndecidedCallsSpareTheKept(t *testing.T) {
	const most = 256 << 10
	inWorld(t, func(c *capture.Config) { c.MaxBytes, c.Calls = most, capture.Failed }, func(w *world) {
		record := func(failed bool) {
			r, _ := w.begin()
			r.Message(message(strings.Repeat("a", 12000)))
			defer r.End(failed)
			w.settle()
		}
		for range 30 {
			record(true)
		}
		kept := len(w.files())
		var open []*capture.Recording
		for range 40 {
			r, _ := w.begin()
			r.Message(message(strings.Repeat("b", 12000)))
			open = append(open, r)
			w.settle()
		}
		for _, r := range open {
			r.End(false)
		}
		w.settle()
		if now := len(w.files()); now < kept*3/4-1 || now >= kept {
			t.Errorf("%d files of %d are left", now, kept)
		}
		record(true)
		if now := len(w.files()); now == 0 {
			t.Error("nothing is kept any more")
		}
	})
}
