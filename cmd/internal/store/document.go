package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"wakebridge/sipua/location"
)

// text is a string that JSON gives back byte for byte: what a phone sends need
// not be UTF-8, and a Contact has to be echoed as it was.
type text string

// MarshalJSON is the string, or an object with its bytes.
func (t text) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(t)) {
		return json.Marshal(string(t))
	}
	return json.Marshal(binary{[]byte(t)})
}

// UnmarshalJSON reads either.
func (t *text) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var b binary
		if err := json.Unmarshal(data, &b); err != nil {
			return err
		}
		*t = text(b.Bytes)
		return nil
	}
	return json.Unmarshal(data, (*string)(t))
}

type binary struct {
	Bytes []byte `json:"bytes"`
}

// deviceDoc is the stored form of a location.Device but for what has a column.
// Fields are only ever added.
type deviceDoc struct {
	Instance  text         `json:"instance,omitempty"`
	Bindings  []bindingDoc `json:"bindings,omitempty"`
	Push      pushDoc      `json:"push"`
	LastSeen  int64        `json:"last_seen"`
	LoggedOut int64        `json:"logged_out,omitempty"`
	LogoutDue int64        `json:"logout_due,omitempty"`
	TokensDue int64        `json:"tokens_due,omitempty"`
	Health    healthDoc    `json:"health"`
}

type bindingDoc struct {
	Contact    text           `json:"contact"`
	Node       text           `json:"node,omitempty"`
	Path       []text         `json:"path,omitempty"`
	Instance   text           `json:"instance,omitempty"`
	RegID      int            `json:"reg_id,omitempty"`
	CallID     text           `json:"call_id"`
	CSeq       uint32         `json:"cseq"`
	Expires    int64          `json:"expires"`
	UserAgent  text           `json:"user_agent,omitempty"`
	Received   netip.AddrPort `json:"received"`
	Transport  string         `json:"transport"`
	Registered int64          `json:"registered"`
}

type pushDoc struct {
	Provider    text      `json:"provider,omitempty"`
	BundleID    text      `json:"bundle_id,omitempty"`
	TeamID      text      `json:"team_id,omitempty"`
	Environment string    `json:"environment,omitempty"`
	FateHeader  bool      `json:"fate_header,omitempty"`
	VoIP        *tokenDoc `json:"voip,omitempty"`
	Alert       *tokenDoc `json:"alert,omitempty"`
}

type tokenDoc struct {
	Value       text   `json:"value"`
	Updated     int64  `json:"updated"`
	Source      string `json:"source"`
	Environment string `json:"environment"`
	Replaced    text   `json:"replaced,omitempty"`
	Throttled   int64  `json:"throttled,omitempty"`
	NotBefore   int64  `json:"not_before,omitempty"`
}

type healthDoc struct {
	Unanswered   int    `json:"unanswered,omitempty"`
	LastAccepted int64  `json:"last_accepted,omitempty"`
	Accepted     uint64 `json:"accepted,omitempty"`
	Refused      uint64 `json:"refused,omitempty"`
	LastRefused  int64  `json:"last_refused,omitempty"`
	LastReason   text   `json:"last_reason,omitempty"`
	LastVoIP     int64  `json:"last_voip,omitempty"`
	Refreshes    int    `json:"refreshes,omitempty"`
	LastRefresh  int64  `json:"last_refresh,omitempty"`
	Reached      int64  `json:"reached,omitempty"`
}

func encode(d location.Device) ([]byte, error) {
	doc := deviceDoc{
		Instance: text(d.Instance),
		Push: pushDoc{
			Provider: text(d.Push.Provider), BundleID: text(d.Push.BundleID), TeamID: text(d.Push.TeamID),
			Environment: d.Push.Environment.String(), FateHeader: d.Push.FateHeader,
			VoIP: encodeToken(d.Push.VoIP), Alert: encodeToken(d.Push.Alert),
		},
		LastSeen: millis(d.LastSeen), LoggedOut: millis(d.LoggedOut), LogoutDue: millis(d.LogoutDue), TokensDue: millis(d.TokensDue),
		Health: healthDoc{
			Unanswered: d.Health.Unanswered, LastAccepted: millis(d.Health.LastAccepted), Accepted: d.Health.Accepted,
			Refused: d.Health.Refused, LastRefused: millis(d.Health.LastRefused), LastReason: text(d.Health.LastReason),
			LastVoIP: millis(d.Health.LastVoIP), Refreshes: d.Health.Refreshes, LastRefresh: millis(d.Health.LastRefresh),
			Reached: millis(d.Health.Reached),
		},
	}
	for _, b := range d.Bindings {
		doc.Bindings = append(doc.Bindings, bindingDoc{
			Contact: text(b.Contact), Node: text(b.Node), Path: texts(b.Path), Instance: text(b.Instance), RegID: b.RegID,
			CallID: text(b.CallID), CSeq: b.CSeq, Expires: millis(b.Expires), UserAgent: text(b.UserAgent),
			Received: b.Received, Transport: b.Transport, Registered: millis(b.Registered),
		})
	}
	return json.Marshal(doc)
}

// decode fills in d what data has. Its error shows nothing of data.
func decode(data []byte, d *location.Device) error {
	var doc deviceDoc
	if json.Unmarshal(data, &doc) != nil {
		return fmt.Errorf("%w: unreadable document", errDamaged)
	}
	d.Instance = string(doc.Instance)
	d.LastSeen, d.LoggedOut = fromMillis(doc.LastSeen), fromMillis(doc.LoggedOut)
	d.LogoutDue, d.TokensDue = fromMillis(doc.LogoutDue), fromMillis(doc.TokensDue)
	d.Push = location.PushInfo{
		Provider: string(doc.Push.Provider), BundleID: string(doc.Push.BundleID), TeamID: string(doc.Push.TeamID),
		Environment: environment(doc.Push.Environment), FateHeader: doc.Push.FateHeader,
		VoIP: decodeToken(doc.Push.VoIP, location.VoIP), Alert: decodeToken(doc.Push.Alert, location.Alert),
	}
	h := doc.Health
	d.Health = location.Health{
		Unanswered: h.Unanswered, LastAccepted: fromMillis(h.LastAccepted), Accepted: h.Accepted,
		Refused: h.Refused, LastRefused: fromMillis(h.LastRefused), LastReason: string(h.LastReason),
		LastVoIP: fromMillis(h.LastVoIP), Refreshes: h.Refreshes, LastRefresh: fromMillis(h.LastRefresh),
		Reached: fromMillis(h.Reached),
	}
	for _, b := range doc.Bindings {
		d.Bindings = append(d.Bindings, location.Binding{
			Contact: string(b.Contact), Node: string(b.Node), Path: fromTexts(b.Path), Instance: string(b.Instance), RegID: b.RegID,
			CallID: string(b.CallID), CSeq: b.CSeq, Expires: fromMillis(b.Expires), UserAgent: string(b.UserAgent),
			Received: b.Received, Transport: b.Transport, Registered: fromMillis(b.Registered),
		})
	}
	return nil
}

func encodeToken(t location.Token) *tokenDoc {
	if t.IsZero() {
		return nil
	}
	return &tokenDoc{Value: text(t.Value), Updated: millis(t.Updated), Source: t.Source.String(), Environment: t.Environment.String(),
		Replaced: text(t.Replaced), Throttled: millis(t.Throttled), NotBefore: millis(t.NotBefore)}
}

func decodeToken(doc *tokenDoc, kind location.TokenKind) location.Token {
	if doc == nil {
		return location.Token{}
	}
	t := location.Token{Value: string(doc.Value), Kind: kind, Updated: fromMillis(doc.Updated), Environment: environment(doc.Environment),
		Replaced: string(doc.Replaced), Throttled: fromMillis(doc.Throttled), NotBefore: fromMillis(doc.NotBefore)}
	switch doc.Source {
	case location.FromSIP.String():
		t.Source = location.FromSIP
	case location.FromHTTP.String():
		t.Source = location.FromHTTP
	}
	return t
}

func environment(s string) location.Environment {
	for _, e := range []location.Environment{location.Production, location.Sandbox} {
		if e.String() == s {
			return e
		}
	}
	return location.UnknownEnvironment
}

func texts(ss []string) []text {
	var out []text
	for _, s := range ss {
		out = append(out, text(s))
	}
	return out
}

func fromTexts(ts []text) []string {
	var out []string
	for _, t := range ts {
		out = append(out, string(t))
	}
	return out
}
