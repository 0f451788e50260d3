package config

import (
	"fmt"
	"log/slog"
)

// redacted is what a Secret prints.
const redacted = "<redacted>"

// Secret is a text that is never printed: every verb of fmt, slog, JSON and
// YAML write "<redacted>". The zero Secret is empty.
type Secret struct {
	// A pointer, because fmt does not call methods on unexported fields of
	// somebody else's struct: there it prints an address, not the text.
	text *string
}

// NewSecret makes a Secret of a text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal is the text itself, for the code that needs it and for nothing that
// is written anywhere.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero says that the secret is empty.
func (s Secret) IsZero() bool { return s.text == nil }

// String is "<redacted>", also for an empty secret.
func (s Secret) String() string { return redacted }

// GoString is "<redacted>".
func (s Secret) GoString() string { return redacted }

// Format writes "<redacted>" for every verb.
func (s Secret) Format(f fmt.State, _ rune) {
	fmt.Fprint(f, redacted)
}

// LogValue is "<redacted>" for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes "<redacted>" for encoders that take text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON writes "<redacted>".
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML writes "<redacted>".
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }
