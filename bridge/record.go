package bridge

import (
	"time"

	"wakebridge/bridge/quality"
	"wakebridge/bridge/rules"
)

// Record is what is kept of a call. Times are zero when the moment never came.
type Record struct {
	ID       string       `json:"id"`
	CallID   string       `json:"call_id"` // of the A leg
	Started  time.Time    `json:"started"`
	Rang     time.Time    `json:"rang,omitzero"`
	Answered time.Time    `json:"answered,omitzero"`
	Ended    time.Time    `json:"ended"`
	From     string       `json:"from"`
	To       string       `json:"to"`
	Trunk    string       `json:"trunk,omitempty"` // it came from, or went to
	User     string       `json:"user,omitempty"`  // called
	Result   rules.Result `json:"result"`
	Status   int          `json:"status"` // final response to the caller
	Reason   string       `json:"reason"` // for a person
	HangupBy string       `json:"hangup_by,omitempty"`
	Detail
}

// Detail is the part of a Record that has lists.
type Detail struct {
	Attempts []AttemptRecord `json:"attempts,omitempty"`
	Media    []quality.Leg   `json:"media,omitempty"`
	Audio    []string        `json:"audio,omitempty"` // what was wrong with it, for a person: "the phone sent nothing"
	DTMF     *DTMFRecord     `json:"dtmf,omitempty"`  // nil: all keys passed as telephone events, or none was pressed
	Steps    []Step          `json:"steps,omitempty"`
}

// AttemptRecord is what happened with one device or trunk.
type AttemptRecord struct {
	Device     string       `json:"device"`
	UUID       string       `json:"uuid,omitempty"`
	Pushes     []PushRecord `json:"pushes,omitempty"`
	NotPushed  string       `json:"not_pushed,omitempty"` // why there is no push, for a person
	Registered time.Time    `json:"registered,omitzero"`
	Invited    time.Time    `json:"invited,omitzero"`
	Rang       time.Time    `json:"rang,omitzero"`
	Answered   time.Time    `json:"answered,omitzero"`
	Outcome    string       `json:"outcome"`
}

// PushRecord is one push and what became of it.
type PushRecord struct {
	Kind        string    `json:"kind"` // "voip" or "alert"
	Accepted    bool      `json:"accepted"`
	Reason      string    `json:"reason,omitempty"`
	Words       string    `json:"words,omitempty"` // all of it, for a person
	ID          string    `json:"id,omitempty"`
	Environment string    `json:"environment,omitempty"` // "production" or "sandbox"
	LatencyMS   int64     `json:"latency_ms,omitempty"`  // at least 1; 0: not known
	Tries       int       `json:"tries,omitempty"`
	Hedged      bool      `json:"hedged,omitempty"`
	Written     time.Time `json:"written,omitzero"` // when the request was first on the wire
	At          time.Time `json:"at"`               // when its outcome was known
}

// Step is one thing that happened, for the ladder and the operator.
type Step struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
}

// Leg names of Record.Media.
const (
	legA = "A"
	legB = "B"
)
