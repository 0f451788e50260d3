package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"wakebridge/bridge"
	"wakebridge/sipua"
	"wakebridge/sipua/softphone"
)

// Options of a run.
type Options struct {
	Scene   string // a name, or "all"
	JSON    bool
	Version string
	Log     *slog.Logger

	audience audience // of a test; nil: none
}

// audience sees what the ladder and the report are made of.
type audience interface {
	Saw(t sipua.Traffic)
	Recorded(r bridge.Record)
	Placed(c *softphone.Call)
	// over: the stage is taken down.
	over(s *stage)
}

// Errors of Run.
var (
	// ErrScene says that no scene has that name.
	ErrScene = errors.New("no such scene")
	// ErrFailed says that something did not happen that had to; the report says
	// what.
	ErrFailed = errors.New("the demo failed")
)

// sceneWithin bounds a scene, so that a fault ends it.
const sceneWithin = 25 * time.Second

// Names lists the scenes, the default first.
func Names() []string {
	var out []string
	for _, s := range scenes() {
		out = append(out, s.name)
	}
	return out
}

// Run plays scenes and writes what happened to out. Errors: ErrScene, ErrFailed,
// and what kept a scene from being built.
func Run(ctx context.Context, out io.Writer, opts Options) error {
	var chosen []scene
	for _, s := range scenes() {
		if opts.Scene == s.name || opts.Scene == "all" || opts.Scene == "" && len(chosen) == 0 {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("%w: %q; there are %s, and all", ErrScene, opts.Scene, strings.Join(Names(), ", "))
	}
	var reports []*Report
	for _, s := range chosen {
		r, err := play(ctx, s, out, opts)
		if err != nil {
			return fmt.Errorf("scene %s: %w", s.name, err)
		}
		reports = append(reports, r)
	}
	if err := conclude(out, reports, opts); err != nil {
		return err
	}
	for _, r := range reports {
		if !r.passed() {
			return ErrFailed
		}
	}
	return nil
}

// play plays one scene.
func play(ctx context.Context, sc scene, out io.Writer, opts Options) (*Report, error) {
	ctx, cancel := context.WithTimeout(ctx, sceneWithin)
	defer cancel()
	lines := out
	if opts.JSON {
		lines = nil
	} else if err := announce(out, sc); err != nil {
		return nil, err
	}
	s, err := build(ctx, sc, lines, opts)
	if err != nil {
		return nil, err
	}
	s.ladder.head()
	if err := sc.play(ctx, s); err != nil {
		s.report.check("the scene comes to its end", false, "%v", err)
	}
	for _, h := range s.phones {
		v := h.device.Violations()
		s.report.check(h.name+" kept Apple's rules", len(v) == 0, "%d broken", len(v))
	}
	if err := s.close(); err != nil {
		return nil, err
	}
	if s.audience != nil {
		s.audience.over(s)
	}
	s.report.Ladder = s.ladder.all()
	s.report.judge()
	if !opts.JSON {
		return s.report, s.report.write(out)
	}
	return s.report, nil
}

func announce(out io.Writer, sc scene) error {
	_, err := fmt.Fprintf(out, "\n%s: %s\n", sc.name, sc.about)
	if err == nil && len(sc.shortened) > 0 {
		_, err = fmt.Fprintf(out, "Shortened for the demo: %s.\n", strings.Join(sc.shortened, ", "))
	}
	if err == nil {
		_, err = fmt.Fprintln(out)
	}
	return err
}

// conclude writes the document, or what to do next.
func conclude(out io.Writer, reports []*Report, opts Options) error {
	if opts.JSON {
		if len(reports) == 1 {
			return reports[0].writeJSON(out)
		}
		verdict := pass
		for _, r := range reports {
			if !r.passed() {
				verdict = fail
			}
		}
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"verdict": verdict, "scenes": reports})
	}
	if len(reports) > 1 {
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
		for _, r := range reports {
			if _, err := fmt.Fprintf(out, "%s  %s\n", strings.ToUpper(r.Verdict), r.Scene); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintln(out, "\nNext: wakebridge demo --scene late-phone (or all), wakebridge serve, docs/wakebridge.yaml")
	return err
}
