package sim

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"wakebridge/sipua/iphone"
)

// screen prints what happens: text for a person, or JSON documents, one per line:
//
//	{"phone":1,"seq":4,"at":"...","kind":"registered"}
//	{"phone":1,"command":"answer","ok":true}
//	{"phone":1,"status":{...}}
//	{"result":"passed","violations":[]}
type screen struct {
	mu   sync.Mutex
	out  io.Writer
	json bool
}

// phoneViolation is a broken rule, and whose.
type phoneViolation struct {
	Phone int `json:"phone"`
	iphone.Violation
}

// show prints a document or its text. Nobody is left to tell if that fails: who
// reads the output went away.
func (s *screen) show(doc any, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.json {
		if text != "" {
			fmt.Fprintln(s.out, text)
		}
		return
	}
	json.NewEncoder(s.out).Encode(doc) //nolint:errcheck // see above
}

func (s *screen) event(phone int, e iphone.Event) {
	doc := struct {
		Phone int `json:"phone"`
		iphone.Event
	}{phone, e}
	what := string(e.Kind)
	if e.Reason != "" {
		what += ": " + string(e.Reason)
	}
	if e.Text != "" {
		what += "  " + e.Text
	}
	s.show(doc, fmt.Sprintf("%s  [%d] %s", e.At.Format("15:04:05.000"), phone, what))
}

func (s *screen) command(phone int, line string, err error) {
	doc := struct {
		Phone   int    `json:"phone"`
		Command string `json:"command"`
		OK      bool   `json:"ok"`
		Error   string `json:"error,omitempty"`
	}{Phone: phone, Command: line, OK: err == nil}
	text := ""
	if err != nil {
		doc.Error = err.Error()
		text = "! " + doc.Error
	}
	s.show(doc, text)
}

func (s *screen) status(phone int, st iphone.Status) {
	doc := struct {
		Phone  int           `json:"phone"`
		Status iphone.Status `json:"status"`
	}{phone, st}
	var b strings.Builder
	fmt.Fprintf(&b, "phone %d: app %s, registered %t, online %t, locked %t, CallKit %t", phone, st.App, st.Registered, st.Online, st.Locked, st.CallKit)
	if st.DoNotDisturb {
		b.WriteString(", do not disturb")
	}
	b.WriteByte('\n')
	fmt.Fprintf(&b, "  tokens: VoIP %t, alert %t; pushes not reported: %d, blocked: %t; broken rules: %d", st.VoIPToken, st.AlertToken, st.Strikes,
		st.Blocked, st.Violations)
	for _, c := range st.Calls {
		fmt.Fprintf(&b, "\n  call %s: %s, %s", c.UUID, c.Name, c.State)
		if c.Muted {
			b.WriteString(", muted")
		}
	}
	s.show(doc, b.String())
}

func (s *screen) help() {
	var b strings.Builder
	list := commands()
	for i, c := range list {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "  %-26s %s", c.usage(), c.about)
	}
	docs := make([]map[string]string, 0, len(list))
	for _, c := range list {
		docs = append(docs, map[string]string{"usage": c.usage(), "about": c.about})
	}
	s.show(map[string]any{"help": docs}, b.String())
}

// hello is for a person; a script needs none.
func (s *screen) hello(script, pushes bool) {
	if script || s.json {
		return
	}
	text := "The app is open and registers; `background` lets it fall asleep. `help` lists the commands."
	if !pushes {
		text += "\nWithout --apns no push comes: a call cannot wake the app."
	}
	s.show(nil, text)
}

// conclusion is the last line; a person hears only of what went wrong.
func (s *screen) conclusion(script bool, err error, broken []phoneViolation) {
	doc := struct {
		Result     string           `json:"result"`
		Error      string           `json:"error,omitempty"`
		At         time.Time        `json:"at"`
		Violations []phoneViolation `json:"violations"`
	}{Result: "passed", At: time.Now(), Violations: broken}
	if broken == nil {
		doc.Violations = []phoneViolation{}
	}
	text := ""
	if script {
		text = "passed"
	}
	if err != nil {
		doc.Result, doc.Error = "failed", err.Error()
		text = "failed: " + doc.Error
	}
	for _, v := range broken {
		text += fmt.Sprintf("\n  phone %d broke %s: %s", v.Phone, v.Rule, v.Text)
	}
	s.show(doc, strings.TrimPrefix(text, "\n"))
}
