package registrar_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wakebridge/sipua/location"
	"wakebridge/sipua/registrar"
)

func announced(token string) location.Announce {
	return location.Announce{AOR: alice, Instance: phone1, Push: location.PushInfo{Provider: "apns", VoIP: location.Token{Value: token}}}
}

// Do returns when the disk has it and the watchers know.
func TestDo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		o.watch()
		release := o.store.Hang()
		time.AfterFunc(3*time.Second, release)
		start := time.Now()
		if _, err := o.reg.Do(t.Context(), announced(token1)); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("after %s", d)
		}
		if got := o.changed(); got != "tokens-changed@50ms" {
			t.Errorf("changes %q", got)
		}
		state, err := o.store.Load(t.Context())
		if err != nil || len(state.Devices) != 1 || state.Devices[0].Push.VoIP.Value != token1 {
			t.Errorf("stored: %+v %v", state, err)
		}
		if _, err := o.reg.Do(t.Context()); err != nil {
			t.Errorf("nothing to do: %v", err)
		}
	})
}

func TestDoFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		o := newOffice(t)
		full := errors.New("disk full")
		o.store.Fail(full)
		if _, err := o.reg.Do(t.Context(), announced(token1)); !errors.Is(err, full) {
			t.Errorf("a full disk: %v", err)
		}
		o.store.Fail(nil)
		release := o.store.Hang()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := o.reg.Do(ctx, announced(token2)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a slow disk: %v", err)
		}
		release()
		synctest.Wait()
		o.reg.Close()
		if _, err := o.reg.Do(t.Context(), announced(token1)); !errors.Is(err, registrar.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// Who waits for a Do hears of what its own edits did, not of those beside them in
// the same step.
func TestDoTellsItsOwnNotes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		gate := make(chan struct{})
		o := newOffice(t, func(c *registrar.Config) { c.InCall = func(location.Ref) bool { <-gate; return true } })
		now := time.Now()
		up := location.Upsert{AOR: alice, Announced: location.Tokens, Push: announced(token1).Push,
			Binding: location.Binding{Contact: "<sip:alice@10.0.0.1>", Instance: phone1, Registered: now, Expires: now.Add(time.Hour)}}
		if _, err := o.reg.Do(t.Context(), up); err != nil {
			t.Fatal(err)
		}
		up.Announced = location.NoTokens
		if _, err := o.reg.Do(t.Context(), up); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // its tokens are due: the loop asks whether it is in a call
		full := announced(token2)
		full.Instance, full.MaxContacts = phone2, 1
		results := make(chan string, 3)
		for _, e := range []location.Edit{location.Refreshed{AOR: alice, Key: phone1}, full, location.Refreshed{AOR: alice, Key: phone2}} {
			go func() { // ends with its Do
				notes, err := o.reg.Do(t.Context(), e)
				results <- fmt.Sprintf("%T %d %v", e, len(notes), err)
				if len(notes) == 1 && (notes[0].Kind != location.Evicted || notes[0].Device.Key != phone1 || notes[0].By.Key != phone2) {
					t.Errorf("%+v", notes)
				}
			}()
		}
		synctest.Wait()
		close(gate)
		got := []string{<-results, <-results, <-results}
		slices.Sort(got)
		if want := []string{"location.Announce 1 <nil>", "location.Refreshed 0 <nil>", "location.Refreshed 0 <nil>"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}
