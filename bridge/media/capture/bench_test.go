package capture_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"wakebridge/bridge/media/capture"
)

// BenchmarkPacket is what one media packet costs where it is seen. The writer loses
// most of them, because nobody sends so fast.
func BenchmarkPacket(b *testing.B) {
	for name, whole := range map[string]bool{"headers": false, "all": true} {
		b.Run(name, func(b *testing.B) {
			store, err := capture.New(capture.Config{Dir: b.TempDir(), Calls: capture.All, Whole: whole, Keep: time.Hour, MaxBytes: 1 << 40})
			if err != nil {
				b.Fatal(err)
			}
			r := store.Begin(uuid.NewString())
			p := voice(b, 1, 160)
			b.ReportAllocs()
			for b.Loop() {
				r.See(p)
			}
			r.End(false)
			store.Close()
		})
	}
}
