package bridge

import (
	"sync"
	"testing"
)

func TestMailboxLosesNothing(t *testing.T) {
	b := newMailbox()
	const writers, each = 4, 1000
	var wg sync.WaitGroup
	for range writers {
		wg.Add(1)
		go func() { // awaited below
			defer wg.Done()
			for range each {
				b.post(func() {})
			}
		}()
	}
	for got := 0; got < writers*each; { // a lost wake-up would hang here
		<-b.signal
		got += len(b.take())
	}
	wg.Wait()
}

func TestMailboxKeepsTheOrderAndCloses(t *testing.T) {
	b := newMailbox()
	var out []int
	for i := range 3 {
		b.post(func() { out = append(out, i) })
	}
	for _, fn := range b.take() {
		fn()
	}
	if len(out) != 3 || out[0] != 0 || out[2] != 2 {
		t.Errorf("order %v", out)
	}
	b.post(func() {})
	b.close()
	b.post(func() {})
	if n := len(b.take()); n != 0 {
		t.Errorf("%d closures after close", n)
	}
}
