package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"wakebridge/bridge"
	"wakebridge/cmd/internal/daemon"
	"wakebridge/sipua"
	"wakebridge/sipua/leg"
	"wakebridge/sipua/softphone"
)

// talkers are a server process that captures every call, phones that are awake and a
// PBX. All speak; every other phone does so by SRTP.
type talkers struct {
	fleet // its server only
	pbx   *softphone.Phone
	flow  *sipua.Flow // of the PBX
	idle  chan *talker
	calls atomic.Int64
	dir   string // of the captures
}

// talker is a user's phone.
type talker struct {
	*mobile
	number string
	plain  bool // knows no SRTP
}

// newTalkers starts everything; all phones have registered.
func newTalkers(t *testing.T, users int) *talkers {
	t.Helper()
	dev, err := daemon.NewDevelopment()
	must(t, err)
	t.Cleanup(dev.Close)
	p, port := pbx(t, 440)
	s := &talkers{pbx: p, idle: make(chan *talker, users), dir: filepath.Join(dev.Config.Node.DataDir, "captures")}
	s.fleet.pbx = &switchboard{addr: netip.MustParseAddrPort(fmt.Sprint(trunkHost, ":", port))}
	file := s.writeConfig(t, dev, fleetConfig{Singles: users})
	capturing(t, file)
	s.server = startProcess(t, file, false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s.flow, err = p.Connect(ctx, sipua.UDP, softphone.At(s.server.udp))
	must(t, err)
	for i := range users {
		k := mobileKind{host: phoneHost, user: userName(i)}
		plain := i%2 == 1
		k.audio.Source, k.audio.Security = softphone.Tone(620), softphone.SRTPOnly
		if plain {
			k.audio.Security = softphone.SRTPNever
		}
		m := newMobile(t, k)
		_, _, err := m.RegisterAndWait(ctx, softphone.Account{Transport: sipua.TCP, Server: softphone.At(s.server.tcp), Expires: 24 * time.Hour})
		must(t, err)
		s.idle <- &talker{m, userNumber(i), plain}
	}
	return s
}

// capturing adds to a configuration file that all packets of all calls are captured, and
// that keys go over TCP.
func capturing(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	var doc map[string]any
	must(t, json.Unmarshal(text, &doc))
	doc["capture"] = map[string]any{"calls": "all", "packets": "all", "decrypt": true}
	doc["media"] = map[string]any{"bind": []string{serverHost}, "srtp": map[string]any{"apps": "optional", "keys_over": "any"}}
	text, err = json.Marshal(doc)
	must(t, err)
	must(t, os.WriteFile(file, text, 0o600))
}

// spoken places n calls, whose endings are in turn, and returns which results the server
// must have recorded. In each that is answered both hear the other.
func (s *talkers) spoken(t *testing.T, n int, rate float64) map[bridge.Result]int {
	t.Helper()
	all := []struct {
		result bridge.Result
		do     func(ctx context.Context, out, in *softphone.Call) error
	}{
		{bridge.Answered, func(ctx context.Context, out, in *softphone.Call) error { return speakAnd(ctx, out, in, out.Hangup) }},
		{bridge.Answered, func(ctx context.Context, out, in *softphone.Call) error { return speakAnd(ctx, out, in, in.Hangup) }},
		{bridge.Declined, func(_ context.Context, _, in *softphone.Call) error { return in.Decline() }},
		{bridge.Answered, func(ctx context.Context, out, in *softphone.Call) error { return speakAnd(ctx, out, in, out.Hangup) }},
		{bridge.Cancelled, func(_ context.Context, out, _ *softphone.Call) error { return out.Hangup() }},
	}
	want := make(map[bridge.Result]int)
	for i := range n {
		want[all[i%len(all)].result]++
	}
	atRate(n, rate, func(i int) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		user := <-s.idle
		defer func() { s.idle <- user }()
		if err := s.call(ctx, user, all[i%len(all)].do); err != nil {
			t.Errorf("call %d: %v", i, err)
		}
	})
	return want
}

// call places one call, and waits for its end once do has seen to that.
func (s *talkers) call(ctx context.Context, user *talker, do func(ctx context.Context, out, in *softphone.Call) error) error {
	from := sip.Uri{Scheme: "sip", User: fmt.Sprintf("+49%09d", s.calls.Add(1)), Host: trunkHost} // nobody calls twice: calls are never merged
	to := sip.Uri{Scheme: "sip", User: user.number, Host: serverHost, Port: int(s.server.udp.Port())}
	out, err := s.pbx.Call(softphone.Outgoing{Target: to, From: leg.Address{URI: from}, Flow: s.flow})
	if err != nil {
		return err
	}
	in, err := user.Accept(ctx)
	if err != nil {
		return fmt.Errorf("no call came: %w", err)
	}
	if user.plain { // it cannot take the first offer
		if err := in.Reject(488, ""); err != nil {
			return err
		}
		if in, err = user.Accept(ctx); err != nil {
			return fmt.Errorf("no plain offer came: %w", err)
		}
	}
	if err := in.Ring(); err != nil {
		return err
	}
	if _, err := out.Wait(ctx, softphone.Ringing); err != nil {
		return fmt.Errorf("waiting for 180: %w", err)
	}
	if err := do(ctx, out, in); err != nil {
		return err
	}
	for _, c := range []*softphone.Call{out, in} {
		if _, err := c.Ended(ctx); err != nil {
			return fmt.Errorf("waiting for the end: %w", err)
		}
	}
	return nil
}

// speakAnd answers, waits until both hear the other, and ends the call.
func speakAnd(ctx context.Context, out, in *softphone.Call, hangUp func(...string) error) error {
	if err := in.Answer(); err != nil {
		return err
	}
	if _, err := out.Wait(ctx, softphone.Answered); err != nil {
		return fmt.Errorf("waiting for the answer: %w", err)
	}
	for who, c := range map[string]*softphone.Call{"the PBX": out, "the phone": in} {
		select {
		case <-c.Heard():
		case <-ctx.Done():
			return fmt.Errorf("%s hears nothing: %w", who, ctx.Err())
		}
	}
	return hangUp()
}

// M7: calls with sound, by RTP and by SRTP, that are captured leave nothing either. The
// long test is TestSoakLeaksOfSound.
func TestNothingIsLeftOfSound(t *testing.T) {
	t.Parallel()
	const calls = 60
	s := newTalkers(t, 10)
	before := s.holds(t)
	s.recorded(t, s.spoken(t, calls, 10))
	after := s.calm(t, before, state{Goroutines: 10, Flows: 1}, 45*time.Second) // the PBX's UDP peer stays 3 min
	t.Logf("before %+v, after %+v", before, after)
	s.captured(t, calls)
}

// captured checks that there is a file of each of n calls.
func (s *talkers) captured(t *testing.T, n int) {
	t.Helper()
	files, err := os.ReadDir(s.dir)
	must(t, err)
	if len(files) != n {
		t.Errorf("%d captures of %d calls", len(files), n)
	}
}
