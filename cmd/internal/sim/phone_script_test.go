package sim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"wakebridge/cmd/internal/sim"
	"wakebridge/sipua"
	"wakebridge/sipua/header"
	"wakebridge/sipua/iphone"
	"wakebridge/sipua/softphone"
)

func TestScriptsFail(t *testing.T) {
	for script, want := range map[string]string{
		"dance":                          `line 1: dance: no such command: "dance"`,
		"# x\n\nwait registered\nanswer": "line 4: answer: no such call on the screen: none is ringing",
		"wait rain":                      `usage: wait EVENT [DETAIL] [TIME]; no event is called "rain", events lists them`,
		"wait":                           "wait EVENT [DETAIL] [TIME]",
		"wait ended 10ms":                "10ms, call ended: it did not come",
		"wait token-issued radio 10ms":   "10ms, token issued radio: it did not come",
		"airplane":                       "airplane on|off",
		"airplane maybe":                 "usage: airplane on|off",
		"pause long":                     "invalid duration",
		"phone 2":                        "there are phones 1 to 1",
		"dtmf":                           "usage: dtmf DIGITS",
		"dtmf 12x":                       "usage: dtmf DIGITS, of 0 to 9",
		"answer now":                     "answer now: usage: answer",
		"end":                            "none is answering, active, dialing or held",
		"wait registered\nLock\nlock\nAirplane on\nairplane on\nwait connection-lost\nwait register-failed\nairplane on\nwait register-failed 10ms": "10ms, register failed",
		"wait registered\nrestart\nkill":      "app is not running",
		"wait registered\nbackground\nhold":   "no such call",
		"wait registered\nanswer\nwait never": "line 2",
	} {
		t.Run(script, func(t *testing.T) {
			w := newWorld(t)
			out, err := w.run(w.options(), script)
			if !errors.Is(err, sim.ErrScript) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v\n%s", err, out)
			}
			var last struct{ Result, Error string }
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if e := json.Unmarshal([]byte(lines[len(lines)-1]), &last); e != nil || last.Result != "failed" || last.Error != err.Error() {
				t.Errorf("%v: %s", e, lines[len(lines)-1])
			}
		})
	}
}

// Scripts are over when they say so, and each line of JSON is a document.
func TestScriptsPass(t *testing.T) {
	w := newWorld(t)
	out, err := w.run(w.options(), "help\nevents\nstatus\nwait registered\nsleep\nwait asleep\nsleep\ndnd on\nblock 1 2\nlock\nunlock\npause 1ms\nquit\nnonsense")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen := make(map[string]int)
	for line := range strings.Lines(out) {
		var doc map[string]any
		if err := json.Unmarshal([]byte(line), &doc); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for k := range doc {
			seen[k]++
		}
	}
	if seen["help"] != 1 || seen["events"] != 1 || seen["status"] != 1 || seen["result"] != 1 || seen["command"] != 12 || seen["kind"] < 5 {
		t.Errorf("%v", seen)
	}
}

// An INVITE may be here before the 200 to REGISTER: a script that waits for both goes
// through, whichever was first, and no event counts twice.
func TestWaitsTakeWhatCameInAnyOrder(t *testing.T) {
	w := newWorld(t)
	w.before = func(tx *sipua.ServerTx) {
		c, err := w.server.Call(softphone.Outgoing{Target: header.StripPush(tx.Request.Contact().Address), Flow: tx.Flow()})
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := c.Wait(ctx, softphone.Ringing); err != nil {
			t.Error(err)
		}
	}
	for script, want := range map[string]string{
		"wait registered\npause 1ms\nstatus\nwait ringing 5s\ndecline\nwait call ended declined 5s\n": "",
		"wait 180 sent\nwait INVITE received\nwait registered\nwait call-reported\n":                  "",
		"wait registered\nwait registered 10ms\n":                                                     "line 2: wait registered 10ms",
		"wait registered\nwait ringing\nwait ringing 10ms\n":                                          "line 3: wait ringing 10ms",
		"wait registered\nlock\nwait ringing 10ms\n":                                                  "line 3: wait ringing 10ms", // before the command
		"wait ringing\nunlock\nwait registered\n":                                                     "",
		"wait cellular call ended 10ms":                                                               "10ms, cellular call ended: it did not come",
		"wait cellular call 10ms":                                                                     "10ms, cellular call: it did not come",
		"wait call reported of-nobody 10ms":                                                           "10ms, call reported of-nobody: it did not come",
	} {
		out, err := w.run(w.options(), script)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v\n%s", script, err, out)
		}
	}
	w.wg.Wait()
}

// At a terminal a mistake is only told, and the end is no failure.
func TestAPersonMayErr(t *testing.T) {
	w := newWorld(t)
	in, typed := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		io.WriteString(typed, "dance\nanswer\nhelp\nwait registered\nstatus\nquit\n")
		typed.Close()
	})
	var out bytes.Buffer
	err := sim.RunPhone(t.Context(), w.options(func(o *sim.PhoneOptions) { o.Script, o.JSON, o.Pushes.URL = false, false, "" }), in, &out)
	in.Close()
	wg.Wait()
	w.must(err)
	for _, want := range []string{"`help` lists the commands", `! no such command: "dance"`, "! no such call on the screen: none is ringing", "Without --apns no push", "dtmf DIGITS", "[1] registered",
		"phone 1: app foreground, registered true"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if strings.Index(out.String(), "[1] registered") > strings.Index(out.String(), "registered true") {
		t.Errorf("the status is told before what led to it:\n%s", &out)
	}
	if strings.Contains(out.String(), "passed") {
		t.Error("a person has passed")
	}
}

// A run that is interrupted ends at once: a script has failed, a person goes home.
func TestInterruptedRuns(t *testing.T) {
	for _, script := range []bool{true, false} {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		in, typed := io.Pipe()
		err := make(chan error, 1)
		go func() { // awaited below
			err <- sim.RunPhone(ctx, w.options(func(o *sim.PhoneOptions) { o.Script = script }), in, io.Discard)
		}()
		io.WriteString(typed, "wait registered\n")
		cancel()
		if got := <-err; errors.Is(got, context.Canceled) != script {
			t.Errorf("script %t: %v", script, got)
		}
		typed.Close()
	}
}

// Scripts can wait for each kind of event, by one name and no other's.
func TestEventsHaveNames(t *testing.T) {
	w := newWorld(t)
	out, err := w.run(w.options(), "events")
	w.must(err)
	for _, k := range iphone.Kinds() {
		if name := strings.ToLower(strings.ReplaceAll(string(k), " ", "-")); !strings.Contains(out, `"`+name+`"`) {
			t.Errorf("%q has no name", k)
		}
	}
}
