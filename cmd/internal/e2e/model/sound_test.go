package model

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua/memnet"
)

// RTP that does not arrive, in one direction or both, breaks one promise and no other.
func TestWithheldSound(t *testing.T) {
	const deaf, unheard = "no sound came", "its caller heard nothing"
	for name, c := range map[string]struct {
		toPhone, fromPhone bool
		want               []string
	}{
		"it all arrives":      {},
		"to the phone":        {toPhone: true, want: []string{deaf}},
		"from the phone":      {fromPhone: true, want: []string{unheard}},
		"in either direction": {toPhone: true, fromPhone: true, want: []string{deaf, unheard}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := talkBehind(t, func(net *memnet.Network, phone netip.Addr, i memnet.Impairment) {
					if c.toPhone {
						net.Impair(serverHost, phone, i)
					}
					if c.fromPhone {
						net.Impair(phone, serverHost, i)
					}
				})
				if len(broken) != len(c.want) {
					t.Fatalf("%q, not %q", broken, c.want)
				}
				for i, want := range c.want {
					if !strings.Contains(broken[i], want) {
						t.Errorf("%q, not %q", broken[i], want)
					}
				}
			})
		})
	}
}

// talkBehind is a call of 2 s, in which nothing passes that impair stops from its answer
// to its end.
func talkBehind(t *testing.T, impair func(*memnet.Network, netip.Addr, memnet.Impairment)) []string {
	t.Helper()
	w, err := newWorld(1, false)
	defer w.close()
	if err != nil {
		t.Fatal(err)
	}
	do := func(verb string, n int) {
		if could, err := verbs()[verb].do(w, n); err != nil || !could {
			t.Fatalf("%s %d: %t, %v", verb, n, could, err)
		}
		synctest.Wait()
	}
	do("trunk", 0)
	do("wait", 5)
	do("answer", 0)
	do("pass", 100) // the 200 and its ACK are through, and iOS has not given the audio yet
	impair(w.net, w.phones[0].addr(), memnet.Impairment{Loss: 1})
	do("pass", 2000)
	do("hangup", 0)
	time.Sleep(500 * time.Millisecond)
	impair(w.net, w.phones[0].addr(), memnet.Impairment{}) // the BYE comes through now
	w.calm()
	return w.check()
}
