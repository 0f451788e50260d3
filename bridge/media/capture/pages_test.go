package capture

import (
	"net/netip"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkWrite is what the writer pays for one media packet.
func BenchmarkWrite(b *testing.B) {
	var p pages
	if err := p.open(filepath.Join(b.TempDir(), "x"), header{}); err != nil {
		b.Fatal(err)
	}
	it := item{kind: mediaPacket, at: time.Now(), from: netip.MustParseAddrPort("192.0.2.1:10000"), to: netip.MustParseAddrPort("192.0.2.2:10000"), length: 172}
	data := make([]byte, 12)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.add(&it, data); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.finish(time.Now()); err != nil {
		b.Fatal(err)
	}
}
