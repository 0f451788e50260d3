package demo

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"wakebridge/cmd/internal/daemon"
	"wakebridge/cmd/internal/e2e/invariants"
	"wakebridge/push/apnssim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// critic holds a scene to the promises of DESIGN s5, and its iPhones to Apple's.
type critic struct {
	*invariants.Observer
	broken []string
	saw    int // phones
}

func newCritic(scene string) *critic {
	ring := 50 * time.Second
	for _, s := range scenes() {
		if s.name == scene && s.configure != nil {
			var cfg daemon.Config
			s.configure(&cfg)
			ring = cfg.Calls.RingTimeout
		}
	}
	return &critic{Observer: invariants.New(invariants.Limits{Ring: ring, Final: 5 * time.Second, Invite: 2 * time.Second, Wire: 2 * time.Second, Hedge: 4 * time.Second, Screen: 5 * time.Second,
		Audio: 2 * time.Second})}
}

func (c *critic) over(s *stage) {
	var phones []invariants.Phone
	for _, h := range s.phones {
		phones = append(phones, invariants.PhoneOf(h.name, h.device))
	}
	c.saw = len(phones)
	c.broken = c.Check(s.dev.APNs.Requests(apnssim.Filter{}), phones...)
}

// TestScenes plays every scene as a stranger would, and checks that its report is
// a document with times, that its ladder shows what passed, and that all promises
// were kept.
func TestScenes(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			critic := newCritic(name)
			err := Run(t.Context(), &out, Options{Scene: name, JSON: true, Version: "test", Log: slog.New(slog.DiscardHandler), audience: critic})
			var r Report
			if e := json.Unmarshal(out.Bytes(), &r); e != nil {
				t.Fatalf("%v, %v in %s", err, e, &out)
			}
			for _, c := range r.Checks {
				if !c.OK {
					t.Errorf("%s: %s", c.What, c.Saw)
				}
			}
			if len(critic.broken) > 0 || critic.saw == 0 || len(critic.Records()) == 0 {
				t.Errorf("%q of %d phones and %d calls", critic.broken, critic.saw, len(critic.Records()))
			}
			if err != nil || r.Verdict != pass || r.Scene != name {
				t.Errorf("verdict %q, %v", r.Verdict, err)
			}
			if len(r.Ladder) < 5 || r.Reason == "" {
				t.Errorf("%d arrows, reason %q", len(r.Ladder), r.Reason)
			}
			if name == "answer" && (r.Times.Wake == nil || r.Times.RegisterToInvite == nil || r.Times.PostDialDelay == nil || len(r.Audio) != 2) {
				t.Errorf("times %+v, audio %+v", r.Times, r.Audio)
			}
		})
	}
}

// --scene all plays each scene in turn and sums up, for a person and as a document.
func TestAllScenes(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Run(t.Context(), &out, Options{Scene: "all", Version: "test", Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	_, sum, _ := strings.Cut(out.String(), "\n\nPASS  "+Names()[0]+"\n")
	for _, name := range Names()[1:] {
		if !strings.Contains(sum, "PASS  "+name+"\n") {
			t.Errorf("no word of %s in the sum:\n%s", name, sum)
		}
	}
}

func TestAllScenesAsADocument(t *testing.T) {
	for verdict, last := range map[string]string{pass: pass, fail: fail} {
		var out bytes.Buffer
		if err := conclude(&out, []*Report{{Scene: "one", Verdict: pass}, {Scene: "two", Verdict: last}}, Options{JSON: true}); err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Verdict string
			Scenes  []Report
		}
		if err := json.Unmarshal(out.Bytes(), &doc); err != nil || doc.Verdict != verdict || len(doc.Scenes) != 2 || doc.Scenes[1].Scene != "two" {
			t.Errorf("%+v, %v", doc, err)
		}
	}
}

func TestLadderIsDrawn(t *testing.T) {
	var out bytes.Buffer
	if err := Run(t.Context(), &out, Options{Scene: "decline", Version: "test", Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"pbx", "wakebridge", "apns", "iphone", "INVITE 201", "POST voip", "REGISTER", "603", "PASS  decline", "Next:"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}
