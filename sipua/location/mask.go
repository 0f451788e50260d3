package location

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

func mask(secret string) string {
	switch {
	case secret == "":
		return ""
	case len(secret) < 12:
		return "…"
	}
	return "…" + secret[len(secret)-4:]
}

// secretParams are the Contact parameters that carry a push token: RFC 8599's
// and the one that softphones used before it.
func secretParam(name string) bool {
	return strings.EqualFold(name, "pn-prid") || strings.EqualFold(name, "pn-tok")
}

// MaskContact is a Contact with its push tokens cut to their last four
// characters: what may be logged of it.
func MaskContact(contact string) string {
	var out strings.Builder
	rest := contact
	for {
		i := strings.IndexByte(rest, ';')
		if i < 0 {
			out.WriteString(rest)
			return out.String()
		}
		out.WriteString(rest[:i+1])
		rest = rest[i+1:]
		eq := strings.IndexByte(rest, '=')
		if eq < 0 || !secretParam(strings.TrimSpace(rest[:eq])) {
			continue
		}
		end := strings.IndexAny(rest, ";>?,")
		if end < 0 {
			end = len(rest)
		}
		out.WriteString(rest[:eq+1])
		if end > eq {
			out.WriteString(mask(rest[eq+1 : end]))
			rest = rest[end:]
		} else {
			rest = rest[eq+1:]
		}
	}
}

// String is the binding for a log line, its push token masked.
func (b Binding) String() string {
	return fmt.Sprintf("%s flow %d until %s", MaskContact(b.Contact), b.Flow, b.Expires.UTC().Format(time.RFC3339))
}

// GoString masks the push token under %#v too.
func (b Binding) GoString() string { return fmt.Sprintf("location.Binding(%q)", b.String()) }

// MarshalJSON masks the push token: what we show is never what we store.
func (b Binding) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Contact    string         `json:"contact"`
		Flow       FlowID         `json:"flow"`
		Node       string         `json:"node,omitempty"`
		Path       []string       `json:"path,omitempty"`
		Instance   string         `json:"instance,omitempty"`
		RegID      int            `json:"reg_id,omitempty"`
		CallID     string         `json:"call_id"`
		CSeq       uint32         `json:"cseq"`
		Expires    time.Time      `json:"expires"`
		UserAgent  string         `json:"user_agent,omitempty"`
		Received   netip.AddrPort `json:"received"`
		Transport  string         `json:"transport"`
		Registered time.Time      `json:"registered"`
	}{
		MaskContact(b.Contact), b.Flow, b.Node, b.Path, b.Instance, b.RegID, b.CallID,
		b.CSeq, b.Expires, b.UserAgent, b.Received, b.Transport, b.Registered,
	})
}

// The edits that hold a token in a plain field print without it.

func (r RemoveBinding) String() string {
	return fmt.Sprintf("remove binding %s of %s, instance %q, token %s", MaskContact(r.Contact), r.AOR, r.Instance, mask(r.Token))
}

func (r RemoveToken) String() string {
	return fmt.Sprintf("remove %s token %s not after %s", r.Kind, mask(r.Value), r.NotAfter.UTC().Format(time.RFC3339))
}

func (s SetEnvironment) String() string {
	return fmt.Sprintf("%s token %s is of %s", s.Kind, mask(s.Value), s.Environment)
}

func (t Throttle) String() string {
	return fmt.Sprintf("%s token %s was pushed to too often", t.Kind, mask(t.Value))
}

// GoString is String: %#v shows no token either.
func (t Throttle) GoString() string { return t.String() }

// MarshalText is String, for encoders and slog.
func (t Throttle) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// GoString is String: %#v shows no token either.
func (r RemoveBinding) GoString() string { return r.String() }

// GoString is String: %#v shows no token either.
func (r RemoveToken) GoString() string { return r.String() }

// GoString is String: %#v shows no token either.
func (s SetEnvironment) GoString() string { return s.String() }

// MarshalText is String, for encoders and slog.
func (r RemoveBinding) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText is String, for encoders and slog.
func (r RemoveToken) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText is String, for encoders and slog.
func (s SetEnvironment) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
