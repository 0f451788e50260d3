package daemon

import (
	"io"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"github.com/mattn/go-isatty"

	"wakebridge/config"
)

// The commands know package config by these names, since only the daemon reads it.
type (
	// Config is the configuration.
	Config = config.Config
	// Report is what is wrong with one.
	Report = config.Report
	// Fault is one line of a Report.
	Fault = config.Fault
)

// NewSecret makes a secret of a text.
func NewSecret(text string) config.Secret { return config.NewSecret(text) }

// Load reads a configuration file and the WAKEBRIDGE_... variables. The error is
// a *Report with all faults.
func Load(file string, environ []string) (*Config, error) { return config.Load(file, environ) }

// Warn logs the warnings of a configuration.
func Warn(cfg *Config, log *slog.Logger) {
	for _, w := range cfg.Warnings {
		log.Warn("configuration", "at", w.String(), "cure", w.Cure)
	}
}

// ExplainWarnings writes warnings for a terminal.
func ExplainWarnings(w io.Writer, warnings []Fault) error { return config.ExplainWarnings(w, warnings) }

// NewLogger writes as section log says: text on a terminal, JSON elsewhere, unless
// log.format decides.
func NewLogger(cfg *Config, out io.Writer) *slog.Logger {
	var level slog.Level
	err := level.UnmarshalText([]byte(cfg.Log.Level))
	file, ok := out.(*os.File)
	terminal := ok && isatty.IsTerminal(file.Fd())
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}))
	if cfg.Log.Format == "text" || cfg.Log.Format != "json" && terminal {
		log = slog.New(tint.NewTextHandler(out, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: !terminal}))
	}
	if err != nil { // not from Load, which knows the levels
		log.Warn("log.level", "error", err)
	}
	return log
}
